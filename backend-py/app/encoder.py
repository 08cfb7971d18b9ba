"""Encodes texts as vectors of their meaning, with a small transformer: llama.cpp through ctypes.

The wheel of sqlite-lembed is the smallest that contains llama.cpp (2.4 MB). Its SQL functions
always start four threads, so the C functions are called instead.
Source of the types: llama.h of llama.cpp as in sqlite-lembed 0.0.1a8, which is pinned.
"""

import ctypes
import threading
from array import array
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PACKAGED_MODEL = Path(__file__).parent.parent / "data" / "model.gguf"
# Further tokens of a text are left out: all-MiniLM-L6-v2 was trained on this length.
MOST_TOKENS = 256
DIMENSIONS = 384


class _ModelParams(ctypes.Structure):
    # Passed on unread; larger than in any version, which is harmless in a last argument.
    _fields_ = (("unread", ctypes.c_ubyte * 512),)


class _ContextParams(ctypes.Structure):
    _fields_ = (
        ("seed", ctypes.c_uint32),
        ("n_ctx", ctypes.c_uint32),
        ("n_batch", ctypes.c_uint32),
        ("n_ubatch", ctypes.c_uint32),
        ("n_seq_max", ctypes.c_uint32),
        ("n_threads", ctypes.c_uint32),
        ("n_threads_batch", ctypes.c_uint32),
        ("types", ctypes.c_int32 * 3),
        ("rope", ctypes.c_float * 8),
        ("callback", ctypes.c_void_p * 2),
        ("cache_types", ctypes.c_int32 * 2),
        ("logits_all", ctypes.c_bool),
        ("embeddings", ctypes.c_bool),
        ("unread", ctypes.c_ubyte * 410),
    )


class _Batch(ctypes.Structure):
    _fields_ = (("unread", ctypes.c_ubyte * 256),)


_LogCallback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


_say_nothing = _LogCallback(lambda *_: None)


class Encoder:
    """One model in memory. Raises OSError when the library or the model cannot be loaded."""

    def __init__(self, model: Path) -> None:
        if not model.is_file():
            raise OSError(f"{model} is absent; write it with: python build_model.py")
        self._llama = llama = _load_library()
        self._model = llama.llama_load_model_from_file(
            str(model).encode(), llama.llama_model_default_params()
        )
        if not self._model:
            raise OSError(f"{model} is not a model that llama.cpp can read")
        params = llama.llama_context_default_params()
        # Threads wait for each other in a busy loop: on busy CPUs two took ten times longer.
        params.n_threads = params.n_threads_batch = 1
        params.n_ctx = params.n_batch = params.n_ubatch = MOST_TOKENS
        params.embeddings = True
        self._context = llama.llama_new_context_with_model(self._model, params)
        if not self._context:
            raise OSError("llama.cpp could not create a context; is there enough memory?")
        self._tokens = (ctypes.c_int32 * MOST_TOKENS)()
        # The context holds the state of one text at a time.
        self._lock = threading.Lock()

    def encode(self, text: str) -> bytes:
        """The unit vector of `text`, DIMENSIONS signed bytes, 127 for 1; all 0 for no text."""
        with self._lock:
            count = self._tokenize(text)
            if count <= 2:
                return bytes(DIMENSIONS)
            batch = self._llama.llama_batch_get_one(self._tokens, count, 0, 0)
            if self._llama.llama_decode(self._context, batch):
                raise OSError("llama.cpp could not encode a text")
            found = self._llama.llama_get_embeddings_seq(self._context, 0)
            vector = found[:DIMENSIONS]
        length = sum(x * x for x in vector) ** 0.5
        # No coordinate measured exceeded a third; a factor of 381 uses the range of a byte.
        return array("b", (max(-127, min(127, round(381 * x / length))) for x in vector)).tobytes()

    def knows(self, word: str) -> bool:
        """Whether `word` is a single token, and so an English word rather than a typing error."""
        with self._lock:
            return self._tokenize(word) == 3

    def _tokenize(self, text: str) -> int:
        """Fills the tokens and returns their number, including the two marks around a text."""
        given = text.encode("utf-8", "replace")
        count = self._llama.llama_tokenize(
            self._model, given, len(given), self._tokens, MOST_TOKENS, True, False
        )
        while count < 0:
            given = given[: len(given) * MOST_TOKENS // -count - 1]
            given = given.decode("utf-8", "ignore").encode()
            count = self._llama.llama_tokenize(
                self._model, given, len(given), self._tokens, MOST_TOKENS, True, False
            )
        return int(count)


@cache
def packaged() -> Encoder:
    """The model of the image, loaded once per process: llama.cpp holds a few dozen at most."""
    return Encoder(PACKAGED_MODEL)


def _load_library() -> ctypes.CDLL:
    spec = find_spec("sqlite_lembed")
    if spec is None or spec.origin is None:
        raise OSError("the package sqlite-lembed is absent; see requirements.txt")
    llama = ctypes.CDLL(str(Path(spec.origin).with_name("lembed0.so")))
    pointer, number, text = ctypes.c_void_p, ctypes.c_int32, ctypes.c_char_p
    floats = ctypes.POINTER(ctypes.c_float)
    for name, result, arguments in (
        ("llama_log_set", None, (_LogCallback, pointer)),
        ("llama_backend_init", None, ()),
        ("llama_model_default_params", _ModelParams, ()),
        ("llama_load_model_from_file", pointer, (text, _ModelParams)),
        ("llama_context_default_params", _ContextParams, ()),
        ("llama_new_context_with_model", pointer, (pointer, _ContextParams)),
        (
            "llama_tokenize",
            number,
            (pointer, text, number, pointer, number, ctypes.c_bool, ctypes.c_bool),
        ),
        ("llama_batch_get_one", _Batch, (pointer, number, number, number)),
        ("llama_decode", number, (pointer, _Batch)),
        ("llama_get_embeddings_seq", floats, (pointer, number)),
    ):
        function = getattr(llama, name)
        function.restype, function.argtypes = result, arguments
    llama.llama_log_set(_say_nothing, None)
    llama.llama_backend_init()
    return llama
