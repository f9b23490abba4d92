"""Small networks for texts, and options with which they train in a fraction of a second."""

from transformers import BertConfig, BertForMaskedLM

from evolving_attention.recipe import TextProcessingOptions, TrainingOptions
from evolving_attention.tasks.text_tokenizer import train_tokenizer
from evolving_attention.training import seeded
from tests.glue import sentence

#: Options of a network made from nothing.
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
#: How its texts become tokens.
PROCESSING = TextProcessingOptions(max_length=32, vocab_size=200)
#: How it trains; a test changes what it is about.
OPTIONS = TrainingOptions(epochs=2, batch_size=8, learning_rate=1e-2)


def write_checkpoint(folder, **changes):
    """Write a plain, untrained BERT with its tokenizer, as pretrained ones lie in folders."""
    texts = [sentence(number, label) for number in range(6) for label in range(3)] + ["It is so ."]
    tokenizer = train_tokenizer(texts, vocab_size=120, max_length=32)
    config = BertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=32,
        pad_token_id=0,
        initializer_range=0.5,  # weights of .02 would make maps of nothing
        **SMALL | changes,
    )
    with seeded(7):
        BertForMaskedLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
