"""Write a llama with random weights as GGUF, for llama.cpp: `python make_gguf.py FILE`. Needs gguf and numpy.

Nothing it says makes sense, and that is enough: what is tested is the protocol. A prompt takes about
a token a letter, so the context is long for so small a model. It says printable ASCII and, unless a grammar
leaves nothing else, never the end: every answer is as long as it may be.
"""

import sys

import gguf
import numpy as np

WIDTH, HIDDEN, LAYERS, HEADS, KV_HEADS, CONTEXT = 32, 64, 2, 4, 2, 4096

# A vocabulary of sentencepiece's kind: what is special, every byte, and printable ASCII as pieces of its own.
SPECIAL = [b"<unk>", b"<s>", b"</s>"]
BYTES = [b"<0x%02X>" % byte for byte in range(256)]
PIECES = [chr(code).encode() for code in range(33, 127)] + ["\u2581".encode()]
TYPES = (
    [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    + [gguf.TokenType.BYTE] * len(BYTES)
    + [gguf.TokenType.NORMAL] * len(PIECES)
)
TEMPLATE = "{% for message in messages %}[{{ message.role }}]{{ message.content }}\n{% endfor %}[assistant]"


def main(path: str) -> None:
    chance = np.random.default_rng(20261122)
    tokens = SPECIAL + BYTES + PIECES

    def weights(*shape: int) -> np.ndarray:
        return (chance.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    out = gguf.GGUFWriter(path, "llama")
    out.add_name("random")
    out.add_file_type(gguf.LlamaFileType.ALL_F32)
    out.add_context_length(CONTEXT)
    out.add_embedding_length(WIDTH)
    out.add_feed_forward_length(HIDDEN)
    out.add_block_count(LAYERS)
    out.add_head_count(HEADS)
    out.add_head_count_kv(KV_HEADS)
    out.add_rope_dimension_count(WIDTH // HEADS)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_vocab_size(len(tokens))
    out.add_tokenizer_model("llama")
    out.add_tokenizer_pre("default")
    out.add_token_list(tokens)
    out.add_token_types(TYPES)
    out.add_token_scores([-float(rank) for rank in range(len(tokens))])
    out.add_unk_token_id(0)
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_add_bos_token(True)
    out.add_chat_template(TEMPLATE)

    ones = np.ones(WIDTH, np.float32)
    narrow = WIDTH // HEADS * KV_HEADS
    shapes = {
        "attn_q": (WIDTH, WIDTH),
        "attn_k": (narrow, WIDTH),
        "attn_v": (narrow, WIDTH),
        "attn_output": (WIDTH, WIDTH),
        "ffn_gate": (HIDDEN, WIDTH),
        "ffn_up": (HIDDEN, WIDTH),
        "ffn_down": (WIDTH, HIDDEN),
    }
    out.add_tensor("token_embd.weight", weights(len(tokens), WIDTH))
    for layer in range(LAYERS):
        for norm in ("attn_norm", "ffn_norm"):
            out.add_tensor(f"blk.{layer}.{norm}.weight", ones)
        for name, shape in shapes.items():
            out.add_tensor(f"blk.{layer}.{name}.weight", weights(*shape))
    out.add_tensor("output_norm.weight", ones)
    # Special tokens and bytes are as likely as the average piece, far below what `min_p` leaves. The server
    # decodes its tail anew for each byte that is no whole UTF-8, in time that grows with its square.
    spoken = 4 * weights(len(tokens), WIDTH)
    spoken[: -len(PIECES)] = 0
    out.add_tensor("output.weight", spoken)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


if __name__ == "__main__":
    main(sys.argv[1])
