"""The table of commands: `nlpkit --help` reads it and nothing else."""

from __future__ import annotations

# Command -> (its module in this folder, one line of help). The order is the order of the work.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "The whole chain on Shakespeare, in a few minutes."),
    "tokenizer train": ("tokenizer_train", "Train a tokenizer on a corpus."),
    "tokenizer encode": ("tokenizer_encode", "Turn lines of text into ids or pieces."),
    "tokenizer decode": ("tokenizer_decode", "Turn lines of ids into text."),
    "tokenizer compare": ("tokenizer_compare", "Measure several tokenizers on one text."),
    "tokens": ("tokens", "Tokenise a corpus into a token file."),
    "vectors train": ("vectors_train", "Train word vectors (word2vec)."),
    "vectors cooccur": ("vectors_cooccur", "Count co-occurrences of words, for GloVe."),
    "vectors glove": ("vectors_glove", "Train word vectors (GloVe)."),
    "vectors nearest": ("vectors_nearest", "The words nearest to a word."),
    "vectors analogy": ("vectors_analogy", "A is to B as C is to ...?"),
    "vectors evaluate": ("vectors_evaluate", "Similarity and analogy test sets."),
    "vectors map": ("vectors_map", "Draw words on a plane."),
    "pretrain": ("pretrain", "Pre-train a model on a token file."),
    "finetune": ("finetune", "Fine-tune a model on labelled examples."),
    "distill": ("distill", "Distil a teacher into a smaller student."),
    "tune pretrain": ("tune_pretrain", "Pre-train over a grid of options; keep what is best on dev."),
    "tune finetune": ("tune_finetune", "Fine-tune over a grid of options; keep what is best on dev."),
    "tune distill": ("tune_distill", "Distil over a grid of options; keep what is best on dev."),
    "plan": ("plan", "What time and memory a training run will need."),
    "evaluate": ("evaluate", "Evaluate a model, with confidence intervals."),
    "predict": ("predict", "Labels and probabilities for texts."),
    "generate": ("generate", "Continue a text."),
    "embed": ("embed", "Embeddings of texts."),
    "export": ("export", "Write a model, tokenizer or vectors for another tool."),
    "import": ("import_", "Read a Hugging Face directory, or word vectors."),
    "info": ("info", "What a file holds."),
    "lineage": ("lineage", "Where a file came from."),
    "verify": ("verify", "Run a file's stages again and compare the bytes."),
    "diff": ("diff", "How two files differ."),
    "report": ("report", "Draw and compare runs on one page."),
    "ls": ("ls", "List models, sizes, objectives, recipes and the rest, by name."),
}
GROUPS = {
    "tokenizer": "Train, use and compare tokenizers.",
    "vectors": "Train, query and evaluate word vectors.",
    "tune": "Search for the best options of a training command.",
}
