"""A stranger's data looked over before anything is packed: what is there, what is doubtful, and a drawing of it."""
