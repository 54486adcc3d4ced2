"""Constraints for people: tables in a terminal, and the body with its critical joints."""
