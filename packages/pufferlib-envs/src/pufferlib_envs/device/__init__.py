"""Rules of environments as pure functions of arrays, for devices; see `pufferlib_core.traits.DeviceEnv`."""
