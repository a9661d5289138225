/* From here to puffer/isa_end.h, functions are compiled for x86-64-v3. No guard: meant to be included repeatedly. */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx,avx2,fma,bmi,bmi2,f16c,lzcnt,movbe"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC target("avx,avx2,fma,bmi,bmi2,f16c,lzcnt,movbe")
#endif
