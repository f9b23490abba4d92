"""What training is made of: options, batches, callbacks, checkpoints and processes.

:func:`evolving_attention.training.train_network` puts them together.
"""
