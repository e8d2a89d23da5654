package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/jonreiter/govader"
)

// handler answers the routes. Nothing in it changes after newHandler but the slots.
type handler struct {
	models  map[string]model
	slots   chan struct{} // bounds the bodies in memory and the texts being scored
	started int64         // Unix seconds; when the models were "created"
}

func newHandler() http.Handler {
	h := &handler{
		models: map[string]model{
			modelSentiment: sentiment{govader.NewSentimentIntensityAnalyzer()},
			modelLanguage:  language{},
		},
		slots:   make(chan struct{}, inFlightLimit),
		started: time.Now().Unix(),
	}
	mux := http.NewServeMux()
	mux.Handle("/v1/chat/completions", h.post(openAIError, h.chat))
	mux.Handle("/v1/models", get(openAIError, h.list))
	mux.Handle("/invocations", h.post(mlflowError, h.score))
	mux.Handle("/models/{model}/invocations", h.post(mlflowError, h.score))
	mux.Handle("/ping", get(mlflowError, alive))
	mux.Handle("/health", get(mlflowError, alive))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		openAIError(w, &fault{http.StatusNotFound, "not_found", "there is no such route here"})
	})
	return mux
}

// fault is a request that cannot be served. Each protocol writes it in its own shape.
type fault struct {
	status  int
	code    string
	message string
}

func (f *fault) Error() string { return f.message }

func invalid(format string, args ...any) error {
	return &fault{http.StatusBadRequest, "invalid_request", fmt.Sprintf(format, args...)}
}

func unknownModel(name string) error {
	return &fault{http.StatusNotFound, "model_not_found", fmt.Sprintf("the model %q does not exist; there are %s and %s", name, modelSentiment, modelLanguage)}
}

// post reads a bounded JSON body, hands it to answer and writes what comes back.
func (h *handler) post(
	fail func(http.ResponseWriter, *fault), answer func(r *http.Request, body []byte) (any, error),
) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !allow(w, r, http.MethodPost, fail) {
			return
		}
		select {
		case h.slots <- struct{}{}:
			defer func() { <-h.slots }()
		case <-r.Context().Done():
			return // nobody waits for it any more
		}
		body, err := read(w, r)
		var got any
		if err == nil {
			got, err = answer(r, body)
		}
		if err != nil {
			fail(w, asFault(err))
			return
		}
		if streamed, ok := got.(chatStream); ok {
			writeEvents(w, streamed.events())
			return
		}
		write(w, http.StatusOK, got)
	})
}

func get(fail func(http.ResponseWriter, *fault), answer http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if allow(w, r, http.MethodGet, fail) {
			answer(w, r)
		}
	})
}

func allow(w http.ResponseWriter, r *http.Request, method string, fail func(http.ResponseWriter, *fault)) bool {
	if r.Method == method {
		return true
	}
	w.Header().Set("Allow", method)
	fail(w, &fault{http.StatusMethodNotAllowed, "method_not_allowed", "use " + method})
	return false
}

func read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if given := r.Header.Get("Content-Type"); given != "" {
		if kind, _, err := mime.ParseMediaType(given); err != nil || kind != "application/json" {
			return nil, &fault{http.StatusUnsupportedMediaType, "unsupported_media_type", "send application/json"}
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, &fault{http.StatusRequestEntityTooLarge, "request_too_large", fmt.Sprintf("the body is longer than %d bytes", bodyLimit)}
		}
		return nil, invalid("the body ended too soon")
	}
	return body, nil
}

func asFault(err error) *fault {
	if known, ok := errors.AsType[*fault](err); ok {
		return known
	}
	return &fault{http.StatusInternalServerError, "internal_error", "the service failed"}
}

func write(w http.ResponseWriter, status int, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"error_code":"INTERNAL_ERROR","message":"the answer cannot be written"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text) // a failure means that the client has gone: there is nobody to tell
}

// writeEvents sends an event stream as OpenAI does.
func writeEvents(w http.ResponseWriter, events []any) {
	w.Header().Set("Content-Type", "text/event-stream")
	for _, event := range events {
		text, err := json.Marshal(event)
		if err != nil {
			return // the stream ends without its mark, which the client sees
		}
		_, _ = fmt.Fprintf(w, "data: %s\n\n", text) // a failure means that the client has gone
	}
	_, _ = io.WriteString(w, "data: [DONE]\n\n")
}

func alive(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }
