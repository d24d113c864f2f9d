"""The model: what a GPT is made of. Start with `gpt`, then `blocks` and `attention`."""
