"""all-MiniLM-L6-v2 behind the shape of OpenAI's embeddings, or asked directly.

`embedding.py serve FOLDER` prints its address and serves until standard input ends. `embedding.py direct` takes
{"folder", "texts"} on standard input and prints {"vectors"}, each computed by itself. FOLDER has the model's
model.safetensors and tokenizer.json. The arithmetic is numpy's: embeddings, six layers, the mean over the tokens,
unit length.
"""

import base64
import concurrent.futures
import http.server
import json
import os
import sys
import threading

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read by numpy: batches side by side are faster than one on all cores

import numpy
import safetensors.numpy
import tokenizers

MODEL = "all-MiniLM-L6-v2"
LAYERS, HEADS, SIZE = 6, 12, 384
TOKENS_LIMIT = 256  # of one text, [CLS] and [SEP] included: max_seq_length
INPUTS_LIMIT = 2048
BODY_LIMIT = 64 << 20


def erf(x):
    """Abramowitz and Stegun 7.1.26; its error of 1.5e-7 is that of a float32."""
    t = 1 / (1 + 0.3275911 * numpy.abs(x))
    tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return numpy.copysign(1 - tail * numpy.exp(-x * x), x)


def gelu(x):
    return x * (1 + erf(x * numpy.float32(0.5**0.5))) / 2


def softmax(x):
    x = numpy.exp(x - x.max(axis=-1, keepdims=True))
    return x / x.sum(axis=-1, keepdims=True)


class Model:
    def __init__(self, folder):
        self.weights = safetensors.numpy.load_file(os.path.join(folder, "model.safetensors"))
        self.tokenizer = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()

    def tokens(self, text):
        return self.tokenizer.encode(text).ids

    def dense(self, name, x):
        return x @ self.weights[name + ".weight"].T + self.weights[name + ".bias"]

    def norm(self, name, x):
        x = x - x.mean(axis=-1, keepdims=True)
        x = x / numpy.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-12)
        return x * self.weights[name + ".weight"] + self.weights[name + ".bias"]

    def vectors(self, texts):
        """The vectors of a batch of lists of tokens, padded to the longest."""
        count, length = len(texts), max(map(len, texts))
        ids = numpy.zeros((count, length), numpy.int64)
        mask = numpy.zeros((count, length), numpy.float32)
        for i, tokens in enumerate(texts):
            ids[i, : len(tokens)] = tokens
            mask[i, : len(tokens)] = 1
        x = self.weights["embeddings.word_embeddings.weight"][ids]
        x = x + self.weights["embeddings.position_embeddings.weight"][:length]
        x = self.norm("embeddings.LayerNorm", x + self.weights["embeddings.token_type_embeddings.weight"][0])
        hidden = (mask[:, None, None, :] - 1) * numpy.float32(1e9)  # no one looks at the padding

        def heads(y):
            return y.reshape(count, length, HEADS, SIZE // HEADS).transpose(0, 2, 1, 3)

        for layer in range(LAYERS):
            at = f"encoder.layer.{layer}."
            query, key, value = (heads(self.dense(at + "attention.self." + part, x)) for part in ("query", "key", "value"))
            looks = softmax(query @ key.transpose(0, 1, 3, 2) / numpy.float32((SIZE // HEADS) ** 0.5) + hidden)
            seen = (looks @ value).transpose(0, 2, 1, 3).reshape(count, length, SIZE)
            x = self.norm(at + "attention.output.LayerNorm", x + self.dense(at + "attention.output.dense", seen))
            wide = gelu(self.dense(at + "intermediate.dense", x))
            x = self.norm(at + "output.LayerNorm", x + self.dense(at + "output.dense", wide))
        mean = (x * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        return unit(mean)


def unit(x):
    return x / numpy.linalg.norm(x, axis=-1, keepdims=True)


class Refusal(Exception):
    def __init__(self, status, message, param=None, code=None):
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, model):
        super().__init__(("127.0.0.1", 0), Handler)
        self.model = model
        self.cores = threading.BoundedSemaphore(os.cpu_count())
        self.lock = threading.Lock()  # of the total
        self.total = {"prompt_tokens": 0, "answered": 0, "refused": 0}

    def embed(self, request):
        """The answer to a request; Refusal where OpenAI has one."""
        if not isinstance(request, dict):
            raise Refusal(400, "The body is no JSON object.")
        if request.get("model") != MODEL:
            raise Refusal(404, f"The model {request.get('model')!r} does not exist.", "model", "model_not_found")
        texts = request.get("input")
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts) or not texts:
            raise Refusal(400, "'$.input' is invalid: a text, or a list of texts, and none of them empty.", "input")
        if len(texts) > INPUTS_LIMIT:
            raise Refusal(400, f"'$.input' is invalid: {len(texts)} texts, and no more than {INPUTS_LIMIT} are allowed.", "input")
        tokens = [self.model.tokens(text) for text in texts]
        longest = max(map(len, tokens))
        if longest > TOKENS_LIMIT:
            message = f"This model's maximum context length is {TOKENS_LIMIT} tokens, however you requested {longest} tokens."
            raise Refusal(400, message, "input", "context_length_exceeded")
        encoding = request.get("encoding_format", "float")
        if encoding not in ("float", "base64"):
            raise Refusal(400, f"{encoding!r} is no encoding format.", "encoding_format")
        dimensions = request.get("dimensions", SIZE)
        if not isinstance(dimensions, int) or not 0 < dimensions <= SIZE:
            raise Refusal(400, f"'dimensions' is from 1 to {SIZE}.", "dimensions")
        with self.cores:
            vectors = self.model.vectors(tokens)
        if dimensions < SIZE:
            vectors = unit(vectors[:, :dimensions])
        vectors = [base64.b64encode(v.astype("<f4").tobytes()).decode() if encoding == "base64" else v.tolist() for v in vectors]
        count = sum(map(len, tokens))
        return {
            "object": "list",
            "data": [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)],
            "model": MODEL,
            "usage": {"prompt_tokens": count, "total_tokens": count},
        }

    def count(self, tokens):
        """Adds a request to the total: tokens, or None where it was refused."""
        with self.lock:
            self.total["refused" if tokens is None else "answered"] += 1
            self.total["prompt_tokens"] += tokens or 0


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        if self.path == "/total":
            with self.server.lock:
                total = dict(self.server.total)
            self.send(200, total)
        else:
            self.send(404, Refusal(404, f"There is no {self.path}.").body)

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > BODY_LIMIT:
            self.close_connection = True
            self.send(411, Refusal(411, "The request wants a Content-Length that is not too large.").body)
            return
        body = self.rfile.read(int(length))
        try:
            if self.path != "/v1/embeddings":
                raise Refusal(404, f"There is no {self.path}.")
            answer = self.server.embed(json.loads(body))
        except (Refusal, ValueError) as error:
            refusal = error if isinstance(error, Refusal) else Refusal(400, f"The body is no JSON: {error}")
            self.server.count(None)
            self.send(refusal.status, refusal.body)
            return
        self.server.count(answer["usage"]["prompt_tokens"])
        self.send(200, answer)

    def send(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        server = Server(Model(sys.argv[2]))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        sys.stdin.read()
    else:
        args = json.load(sys.stdin)
        model = Model(args["folder"])
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            vectors = list(pool.map(lambda text: model.vectors([model.tokens(text)])[0].tolist(), args["texts"]))
        json.dump({"vectors": vectors}, sys.stdout)
