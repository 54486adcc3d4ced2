"""Asking an OpenAI-compatible endpoint: prompts, requests, answers read and repaired, their memory, and the budget."""
