"""Our environments with the interface of Gymnasium; importing this module registers the native ones as `puffer/<name>-v0`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pufferlib_core.adapters._common import RENDER_FPS, cast_action, check_render_mode, fresh_seed, render_modes, resolve
from pufferlib_core.errors import EnvError, ShapeError, UnknownName, require
from pufferlib_core.native import Array
from pufferlib_core.spaces import to_gymnasium
from pufferlib_core.traits import EnvSpec, Step
from pufferlib_core.vector import env_names, vectorize

if TYPE_CHECKING:
    import gymnasium
    from gymnasium.envs.registration import EnvSpec as GymnasiumSpec
    from gymnasium.vector import AutoresetMode
else:
    gymnasium = require("gymnasium", "gymnasium")
    GymnasiumSpec = gymnasium.envs.registration.EnvSpec
    AutoresetMode = gymnasium.vector.AutoresetMode

AUTORESET = {
    AutoresetMode.NEXT_STEP: "next_step",
    AutoresetMode.SAME_STEP: "same_step",
    AutoresetMode.DISABLED: "disabled",
}


class GymnasiumEnv(gymnasium.Env[Array, Any]):
    """One of our environments as a `gymnasium.Env`.

    `reset(seed=s)` starts what row 0 of a `VecEnv` with seed s does; without a seed the first episode is random and later
    ones go on in the same stream. `info` holds `cost`, and `action_mask` (choices,) where the environment has masks.
    Episodes are cut off by the environment's own time limit.

    Args:
        env: a name, as for `make_vec`, or an `EnvSpec`.
        render_mode: `ansi`, `rgb_array` or None, as far as the environment draws itself.
        config: settings of the environment itself.

    Raises:
        UnknownName: if there is no such environment or drawing.
        ConfigError: if a setting is not legal.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": RENDER_FPS}  # noqa: RUF012 (as Gymnasium has it)

    def __init__(self, env: str | EnvSpec, *, render_mode: str | None = None, config: Mapping[str, Any] | None = None) -> None:
        spec = resolve(env, config)
        self.render_mode = check_render_mode(spec, render_mode)
        self.metadata = {"render_modes": render_modes(spec), "render_fps": RENDER_FPS}
        self.spec = _registration(spec.name, {"env": env} | ({"config": dict(config)} if config else {}))
        self.observation_space = to_gymnasium(spec.obs_space)
        self.action_space = to_gymnasium(spec.action_space)
        self._vec = vectorize(spec, num_envs=1, autoreset="disabled", seed=fresh_seed())
        self._over = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """A new episode; `options` are ignored, our environments have none.

        Returns:
            The first observation, of the dtype of `observation_space`, and `info`.
        """
        super().reset(seed=seed)
        step = self._vec.reset(seed)
        self._over = False
        return self._obs(step), _single_info(step)

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """One step.

        Raises:
            EnvError: before the first reset, after the end of the episode, or if the action is out of range.
            ShapeError: if the action has the wrong shape or dtype.
        """
        if self._over:
            raise EnvError(f"{self._vec.spec.name}: the episode has ended; call reset()")
        step = self._vec.step(cast_action(self._vec, np.asarray(action)[None]))
        terminated, truncated = bool(step.terminated[0]), bool(step.truncated[0])
        self._over = terminated or truncated
        return self._obs(step), float(step.reward[0]), terminated, truncated, _single_info(step)

    def render(self) -> Any:
        """The drawing of `render_mode`: text, uint8 (height, width, 3), or None."""
        return None if self.render_mode is None else self._vec.render(0, self.render_mode)

    def close(self) -> None:
        """Ends the use of the environment; calling it again does nothing."""
        self._vec.close()

    def _obs(self, step: Step) -> Array:
        return np.array(step.obs[0], self.observation_space.dtype)


class GymnasiumVectorEnv(gymnasium.vector.VectorEnv[Array, Array, Array]):
    """N of our environments as a `gymnasium.vector.VectorEnv`: the fast way, row by row what a `VecEnv` gives.

    `infos`, by Gymnasium's conventions (`_key` says which rows a key speaks of):

    - `cost` (N,) float32, and `action_mask` (N, choices) uint8 where the environment has masks;
    - where episodes ended: `episode` with `r` (N,) float32 and `l` (N,) int32, as `RecordEpisodeStatistics` gives it. That
      wrapper refuses a second `episode`; who wants it too gives it another `stats_key`;
    - under `SAME_STEP`, where episodes ended: `final_obs` (N,) of arrays, and `final_info` with `cost` and `episode`.

    Args:
        env: a name, as for `make_vec`, or an `EnvSpec`.
        num_envs: N.
        autoreset_mode: one of Gymnasium's, or its value (`"SameStep"`).
        render_mode: `ansi`, `rgb_array` or None, as far as the environment draws itself.
        config: settings of the environment itself.
        threads: see `vectorize`.
        copy: whether observations are copies; without, the next step overwrites them.

    Raises:
        UnknownName: if there is no such environment, drawing or mode.
        ConfigError: if a number or setting is out of range.
    """

    def __init__(
        self,
        env: str | EnvSpec,
        num_envs: int = 1,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        config: Mapping[str, Any] | None = None,
        threads: int | None = None,
        copy: bool = True,
    ) -> None:
        spec, mode = resolve(env, config), _mode(autoreset_mode)
        self.render_mode = check_render_mode(spec, render_mode)
        self.metadata = {"render_modes": render_modes(spec), "render_fps": RENDER_FPS, "autoreset_mode": mode}
        self.spec = _registration(spec.name, {"env": env} | ({"config": dict(config)} if config else {}))
        self._vec = vectorize(spec, num_envs=num_envs, threads=threads, autoreset=AUTORESET[mode], seed=fresh_seed())
        self.num_envs = num_envs
        self.single_observation_space = to_gymnasium(spec.obs_space)
        self.single_action_space = to_gymnasium(spec.action_space)
        batched = gymnasium.vector.utils.batch_space
        self.observation_space = batched(self.single_observation_space, num_envs)
        self.action_space = batched(self.single_action_space, num_envs)
        self._mode = mode
        self._copy = copy
        self._over = np.zeros(num_envs, bool)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """New episodes everywhere, or in the rows where `options["reset_mask"]` (N,) bool is true.

        Args:
            seed: of all streams; None: they go on.
            options: nothing but `reset_mask` is read.

        Raises:
            EnvError: if a seed comes with a mask: the seed is that of all rows.
            ShapeError: if the mask is not bool (N,).
        """
        super().reset(seed=seed)
        mask = (options or {}).get("reset_mask")
        if mask is None:
            step = self._vec.reset(seed)
            self._over[:] = False
        elif seed is not None:
            raise EnvError("reset() takes a seed or a reset_mask: the seed is that of all rows")
        else:
            step = self._vec.reset_some(_checked_mask(mask, self.num_envs))
            self._over[mask] = False
        return self._obs(step.obs), self._masks(step)

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """One step of every environment.

        Returns:
            Observations (N, ...), rewards (N,) float32, terminations and truncations (N,) bool, infos.

        Raises:
            EnvError: before the first reset, if an action is out of range, or under `DISABLED` while rows wait for a reset.
            ShapeError: if the actions have the wrong shape or dtype.
        """
        if self._mode is AutoresetMode.DISABLED and self._over.any():
            waiting = np.flatnonzero(self._over).tolist()
            raise EnvError(f"{self._vec.spec.name}: episodes {waiting} have ended; reset them by options={{'reset_mask': ...}}")
        step = self._vec.step(cast_action(self._vec, actions))
        terminated, truncated = step.terminated != 0, step.truncated != 0
        self._over = terminated | truncated
        infos = {"cost": step.cost.copy(), "_cost": np.ones(self.num_envs, bool)} | self._masks(step)
        if step.finished:
            infos |= self._endings(step, self._over)
        return self._obs(step.obs), step.reward.copy(), terminated, truncated, infos

    def render(self) -> tuple[Any, ...] | None:
        """One drawing of `render_mode` for each environment, or None."""
        mode = self.render_mode
        return None if mode is None else tuple(self._vec.render(i, mode) for i in range(self.num_envs))

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the use of the environments; `close` calls it."""
        self._vec.close()

    def _obs(self, obs: Array) -> Array:
        return obs.astype(self.single_observation_space.dtype, copy=self._copy)

    def _masks(self, step: Step) -> dict[str, Any]:
        if step.action_mask is None:
            return {}
        return {"action_mask": step.action_mask.copy(), "_action_mask": np.ones(self.num_envs, bool)}

    def _endings(self, step: Step, ended: Array) -> dict[str, Any]:
        """What `infos` says of the episodes that ended in this step."""
        log = step.log
        statistics = {"r": np.where(ended, log["episode_return"], 0), "l": np.where(ended, log["episode_length"], 0)}
        episode = {"episode": statistics, "_episode": ended.copy()}
        if self._mode is not AutoresetMode.SAME_STEP:
            return episode
        final_obs = np.full(self.num_envs, None, object)
        rows = np.flatnonzero(ended)
        for i, last in zip(rows.tolist(), step.final_obs[rows].astype(self.single_observation_space.dtype), strict=True):
            final_obs[i] = last  # one by one: an array of objects would take them for one array of two axes
        final_info = {"cost": np.where(ended, step.cost, 0), "_cost": ended.copy()} | episode
        return episode | {
            "final_obs": final_obs, "_final_obs": ended.copy(), "final_info": final_info, "_final_info": ended.copy()
        }  # fmt: skip


def register_envs() -> None:
    """Registers the native environments that Gymnasium does not know yet; importing this module does it."""
    for name in env_names():
        spec = _registration(name, {"env": name})
        if spec.id not in gymnasium.registry:
            gymnasium.register(
                spec.id, entry_point=spec.entry_point, vector_entry_point=spec.vector_entry_point, kwargs=spec.kwargs
            )


def _registration(name: str, kwargs: dict[str, Any]) -> GymnasiumSpec:
    return GymnasiumSpec(
        id=f"puffer/{re.sub(r'[^A-Za-z0-9_:.-]', '_', name)}-v0",
        entry_point=f"{__name__}:GymnasiumEnv",
        vector_entry_point=f"{__name__}:GymnasiumVectorEnv",
        kwargs=kwargs,
    )


def _mode(value: AutoresetMode | str) -> AutoresetMode:
    try:
        return AutoresetMode(value)
    except ValueError:
        raise UnknownName("autoreset mode", str(value), [mode.value for mode in AUTORESET]) from None


def _checked_mask(mask: Any, num_envs: int) -> Array:
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (num_envs,):
        raise ShapeError(f"reset_mask must be a bool array of shape {(num_envs,)}")
    return mask


def _single_info(step: Step) -> dict[str, Any]:
    masks = {} if step.action_mask is None else {"action_mask": step.action_mask[0].copy()}
    return {"cost": float(step.cost[0])} | masks


register_envs()
