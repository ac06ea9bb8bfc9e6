"""Text as numbered words: reading, counting, phrases, sub-words."""
