"""DreamDojo rebuilt: tokenizer, latent actions, world model, the three phases, the student."""
