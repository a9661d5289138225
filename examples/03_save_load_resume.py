"""A run goes on exactly where its checkpoint stands, and the policy of a checkpoint acts on its own."""

import numpy as np
import pufferlib_core as puffer

whole = puffer.train("cartpole", timesteps=16_384, seed=3)

half = puffer.train("cartpole", timesteps=16_384, seed=3, checkpoint_every=8192)
middle = half.run_dir / "checkpoints" / f"{8192:012d}"
rest = puffer.train(resume=middle)  # all settings come from the checkpoint; a new run folder is made

one, two = (puffer.load_checkpoint(run.checkpoint).files["policy"] for run in (whole, rest))
same = all(np.array_equal(one[name], two[name]) for name in one)
print(f"trained in one go and resumed half way: {'equal to the last bit' if same else 'different'}")
assert same

policy = puffer.load_policy(rest.checkpoint)
vec = puffer.make_vec("cartpole", num_envs=4, seed=7)
obs, total = vec.reset().obs, np.zeros(4)
for _ in range(100):
    action, logprob, value = policy.act(obs)
    step = vec.step(action)
    obs, total = step.obs, total + step.reward
print(f"rewards of 100 steps in four environments: {total}")
