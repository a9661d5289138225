/* Golden vectors, row after row; begins[i] is 1 where an episode begins. */
#ifndef GOLDEN_H
#define GOLDEN_H

#include "policy.h"

extern const int32_t golden_rows;
extern const uint8_t golden_begins[];
extern const $obs golden_obs[];
extern const float golden_heads[];
extern const int32_t golden_choices[];
extern const float golden_numbers[];

#endif
