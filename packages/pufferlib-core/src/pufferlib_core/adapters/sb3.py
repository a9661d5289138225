"""Our environments with the interface of Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pufferlib_core.adapters._common import RENDER_FPS, cast_action, check_render_mode, fresh_seed, resolve
from pufferlib_core.errors import EnvError, require
from pufferlib_core.native import Array
from pufferlib_core.spaces import to_gymnasium
from pufferlib_core.traits import EnvSpec
from pufferlib_core.vector import VecEnv, vectorize

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv as BaseVecEnv
else:
    require("stable_baselines3", "sb3")
    from stable_baselines3.common.vec_env import VecEnv as BaseVecEnv

Indices = int | Sequence[int] | None


class Row:
    """One environment of the vector, as far as it can be spoken to alone: it draws itself, and keeps attributes set on it.

    Args:
        vec: all of them.
        index: which.
        render_mode: how it draws itself.
    """

    def __init__(self, vec: VecEnv, index: int, render_mode: str | None) -> None:
        self.spec = vec.spec
        self.render_mode = render_mode
        self._vec = vec
        self._index = index

    def render(self) -> Any:
        """The drawing of `render_mode`: text, uint8 (height, width, 3), or None."""
        return None if self.render_mode is None else self._vec.render(self._index, self.render_mode)


class SB3VecEnv(BaseVecEnv):
    """N of our environments as a `stable_baselines3.common.vec_env.VecEnv`.

    Observations are copies. Where an episode ended, `infos[i]` holds `terminal_observation`, `TimeLimit.truncated` and
    `episode` (`r`, `l`), so neither `Monitor` nor `VecMonitor` is needed; elsewhere it is empty.

    Args:
        env: a name, as for `make_vec`, or an `EnvSpec`.
        num_envs: N.
        render_mode: `ansi`, `rgb_array` or None, as far as the environment draws itself.
        config: settings of the environment itself.
        threads: see `vectorize`.

    Raises:
        UnknownName: if there is no such environment or drawing.
        ConfigError: if a number or setting is out of range.
    """

    def __init__(
        self,
        env: str | EnvSpec,
        num_envs: int = 1,
        *,
        render_mode: str | None = None,
        config: Mapping[str, Any] | None = None,
        threads: int | None = None,
    ) -> None:
        spec = resolve(env, config)
        mode = check_render_mode(spec, render_mode)
        self._vec = vectorize(spec, num_envs=num_envs, threads=threads, autoreset="same_step", seed=fresh_seed())
        self._rows = [Row(self._vec, i, mode) for i in range(num_envs)]
        self._action: Array | None = None
        super().__init__(num_envs, to_gymnasium(spec.obs_space), to_gymnasium(spec.action_space))
        self.metadata["render_fps"] = RENDER_FPS

    def reset(self) -> Array:
        """New episodes everywhere, from fresh streams if `seed` was called; observations (N, ...)."""
        step = self._vec.reset(self._seeds[0])  # row i has its own stream of the seed
        self._reset_seeds()
        return self._obs(step.obs)

    def step_async(self, actions: Array) -> None:
        """Keeps the actions for `step_wait`.

        Raises:
            ShapeError: if they have the wrong shape or dtype.
        """
        self._action = cast_action(self._vec, actions)

    def step_wait(self) -> tuple[Array, Array, Array, list[dict[str, Any]]]:
        """Steps with the actions that `step_async` got.

        Returns:
            Observations (N, ...), rewards (N,) float32, dones (N,) bool, infos.

        Raises:
            EnvError: without `step_async`, before the first reset, or if an action is out of range.
        """
        if self._action is None:
            raise EnvError(f"{self._vec.spec.name}: step_wait() without step_async()")
        action, self._action = self._action, None
        step = self._vec.step(action)
        done = (step.terminated | step.truncated) != 0
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(done).tolist():
            infos[i] = {
                "terminal_observation": self._obs(step.final_obs[i]),
                "TimeLimit.truncated": not step.terminated[i],
                "episode": {"r": float(step.log["episode_return"][i]), "l": int(step.log["episode_length"][i])},
            }
        return self._obs(step.obs), step.reward.copy(), done, infos

    def close(self) -> None:
        """Ends the use of the environments; calling it again does nothing."""
        self._vec.close()

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """An attribute of each chosen `Row`."""
        return [getattr(row, attr_name) for row in self._chosen(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Sets an attribute of each chosen `Row`."""
        for row in self._chosen(indices):
            setattr(row, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Indices = None, **method_kwargs: Any) -> list[Any]:
        """Calls a method of each chosen `Row`."""
        return [getattr(row, method_name)(*method_args, **method_kwargs) for row in self._chosen(indices)]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Indices = None) -> list[bool]:
        """False for each chosen environment: nothing is around a native one."""
        return [False for _ in self._chosen(indices)]

    def get_images(self) -> list[Array | None]:
        """One picture for each environment; None unless `render_mode` is `rgb_array`."""
        return [row.render() if row.render_mode == "rgb_array" else None for row in self._rows]

    def _chosen(self, indices: Indices) -> list[Row]:
        return [self._rows[i] for i in self._get_indices(indices)]

    def _obs(self, obs: Array) -> Array:
        return np.array(obs, self.observation_space.dtype)
