"""The agent as an HTTP service, and its client. The client needs neither FastAPI nor uvicorn."""
