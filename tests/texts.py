"""Small networks for texts, and options with which they train in a fraction of a second."""

from functools import partial

from transformers import (
    BertConfig,
    BertForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
    T5Tokenizer,
)

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


def write_checkpoint(folder, architecture="bert"):
    """Write a plain, untrained network with its tokenizer, as pretrained ones lie in folders."""
    texts = [sentence(number, label) for number in range(6) for label in range(3)] + ["It is so ."]
    if architecture == "t5":
        tokenizer = T5Tokenizer(extra_ids=0).train_new_from_iterator(
            texts, 120, show_progress=False
        )
    else:
        tokenizer = train_tokenizer(texts, architecture, vocab_size=300, max_length=64)
    config, model = _PLAIN[architecture]
    with seeded(7):
        model(config(vocab_size=len(tokenizer), **_marks(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _marks(tokenizer):
    return {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "decoder_start_token_id": tokenizer.pad_token_id,
    }


#: Weights of .02 would make maps of nothing.
_BERT = SMALL | {"initializer_range": 0.5, "max_position_embeddings": 66}
_T5 = {
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 16,
    "num_layers": 3,
    "num_heads": 2,
    "dropout_rate": 0.0,
}
_PLAIN = {
    "bert": (partial(BertConfig, **_BERT), BertForMaskedLM),
    "roberta": (partial(RobertaConfig, **_BERT), RobertaForMaskedLM),
    "t5": (partial(T5Config, **_T5), T5ForConditionalGeneration),
}
