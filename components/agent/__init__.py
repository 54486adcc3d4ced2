"""The agent stage: from the recogniser's confusions to what each class should be told apart by."""
