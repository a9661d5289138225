"""Our environments through the interfaces of other packages: Gymnasium, Stable-Baselines3, PettingZoo.

Each module needs its package, which an extra of the same name brings; nothing else of the core imports them.
"""
