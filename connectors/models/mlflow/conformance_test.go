package mlflow_test

import (
	"net/http"
	"testing"

	"github.com/inflowhq/inflow/connectors/models/mlflow"
	"github.com/inflowhq/inflow/connectors/models/modeltest"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// said is an error of MLflow's, which quotes the frame.
func said(code string) string {
	return `{"error_code": "` + code + `", "message": "Failed to predict data '   text  n\n0  ` + modeltest.Prompt +
		`  1'. \nError: x", "stack_trace": "ANSWER-TEXT"}`
}

func failure(status int, code string) modeltest.Answer {
	return modeltest.Answer{Status: status, Body: said(code)}
}

// provider has the answers of MLflow's scoring server (mlflow/pyfunc/scoring_server and mlflow/exceptions.py), and of what
// stands before it where it has none. The plain question is a frame.
func provider() modeltest.Provider {
	rateLimited := failure(429, "REQUEST_LIMIT_EXCEEDED")
	rateLimited.Header = map[string]string{"Retry-After": "7"}
	const (
		features  = "a model that predicts from features takes no messages"
		whole     = "predictions come whole"
		uncounted = "the server counts no tokens; those of a model that itself asks a language model are in TestUsage"
	)
	return modeltest.Provider{
		New: func(_ testing.TB, base string, client *wire.Client) *wire.Model {
			return mlflow.New(mlflow.Options{
				BaseURL: base, Token: schemas.NewSecret(modeltest.Secret), Model: "test-model", Client: client,
			})
		},
		Question: modeltest.Predictions,
		Schema:   "testdata/request.schema.json",
		Authorized: func(r *http.Request, _ []byte) bool {
			return r.Header.Get("Authorization") == "Bearer "+modeltest.Secret && r.Header.Get("Content-Type") == "application/json"
		},
		Path:    "/invocations",
		Refused: func(string) string { return said("BAD_REQUEST") },
		Answers: map[string]modeltest.Answer{
			"predictions":   {Body: `{"predictions": [1.5, {"label": "a"}]}`},
			"rate limit":    rateLimited,
			"overloaded":    failure(503, "TEMPORARILY_UNAVAILABLE"),
			"invalid key":   {Status: 401},
			"unknown model": {Status: 404, Body: `{"detail":"Not Found"}`},
			"bad parameter": failure(400, "INVALID_PARAMETER_VALUE"),
			"server error":  failure(500, "INTERNAL_ERROR"),
			"page":          {Status: 502, Header: map[string]string{"Content-Type": "text/html"}, Body: "<html>ANSWER-TEXT</html>"},
		},
		Lacks: map[string]string{
			"text":                  features,
			"structured":            features,
			"image":                 features,
			"tool call":             features,
			"conversation":          features,
			"embeddings":            "a model that embeds has a frame of texts like any other: its vectors are predictions",
			"length":                "a prediction has no limit of tokens",
			"refusal":               "a prediction refuses nothing, and MLflow has no word for it",
			"cached":                uncounted,
			"cache written":         uncounted,
			"reasoning":             uncounted,
			"stream":                whole,
			"stream of a tool call": whole,
			"stream cut":            whole,
			"stream failed":         whole,
			"context length":        "a frame has no tokens; one of too many bytes is a 413 (TestErrors)",
			"content filter":        "nothing looks at a frame but the model itself",
		},
		Overloaded: schemas.Transient,
	}
}

func TestConformance(t *testing.T) { t.Parallel(); modeltest.Run(t, provider()) }
