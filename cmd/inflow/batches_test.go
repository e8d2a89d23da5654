package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
)

// manyAtOnce is a server of embeddings and predictions: a text's vector is its length, a row's price its id and a half.
func manyAtOnce(t *testing.T) *modelServer {
	t.Helper()
	return newModelServer(t, func(w http.ResponseWriter, r *http.Request) {
		var asked struct {
			Input []string `json:"input"`
			Frame struct {
				Columns []string          `json:"columns"`
				Data    []json.RawMessage `json:"data"`
			} `json:"dataframe_split"`
		}
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		var answers []string
		for i, text := range asked.Input {
			answers = append(answers, fmt.Sprintf(`{"index":%d,"embedding":[%d,0.5]}`, i, len(text)))
		}
		for _, row := range asked.Frame.Data {
			var values []any
			if err := json.Unmarshal(row, &values); err != nil || len(values) != len(asked.Frame.Columns) {
				t.Errorf("got %s of %v: %v", row, asked.Frame.Columns, err)
			}
			answers = append(answers, fmt.Sprintf(`{"label":"fine","score":%v.5}`, values[slices.Index(asked.Frame.Columns, "review_id")]))
		}
		list := strings.Join(answers, ",")
		if r.URL.Path == "/invocations" {
			_, _ = io.WriteString(w, `{"predictions":[`+list+`]}`)
			return
		}
		_, _ = io.WriteString(w, `{"data":[`+list+`],"model":"m","usage":{"prompt_tokens":41,"total_tokens":41}}`)
	})
}

const mlmodel = `flavors: {python_function: {}}
signature:
  inputs: '[{"type": "long", "name": "review_id", "required": true}, {"type": "string", "name": "product", "required": true}]'
  outputs: '[{"type": "string", "name": "label"}, {"type": "double", "name": "score"}]'
`

// served puts another entity and another request into the starter's files.
func served(t *testing.T, entity, request string) workspace {
	t.Helper()
	w := started(t)
	w.edit(t, starterCatalog, "{name: vader, entity_name: embedded/sentiment}", entity)
	if err := os.WriteFile(w.path("MLmodel"), []byte(mlmodel), 0o600); err != nil {
		t.Fatal(err)
	}
	job := w.read(t, starterJob)
	from, to := strings.Index(job, "  messages:"), strings.Index(job, "  reuse:")
	w.edit(t, starterJob, job[from:to], request)
	return w
}

func TestEmbeddings(t *testing.T) {
	t.Parallel()
	server := manyAtOnce(t)
	entity := `{name: e, external_model: {name: m, provider: custom, task: llm/v1/embeddings, custom_provider_config: {custom_provider_url: "` + server.URL + `/v1"}}}`
	w := served(t, entity, "  input: \"{{ body }}\"\n  batch_size: 16\n")

	contains(t, ends(t, exitDone, "plan", w.job()).stdout, "requests               3\n", "tokens out, at most    0\n")
	ends(t, exitDone, "run", w.job())
	if calls := server.calls.Load(); calls != 3 {
		t.Errorf("%d calls for 40 rows of 16 a call", calls)
	}
	contains(t, ends(t, exitDone, "table", "show", w.path("out/reviews_mood")).stdout, "ARRAY<FLOAT>")
	contains(t, ends(t, exitDone, "table", "head", w.path("out/reviews_mood"), "-n", "1", "-c", "response").stdout, "[57,0.5]")
	contains(t, ends(t, exitDone, "usage", w.path("out/inference_usage")).stdout, "123")
	contains(t, ends(t, exitDone, "ask", "mood", "four", "-c", w.path("catalog.yaml")).stdout, "2 numbers: 4 0.5\n", "41 in, 0 out")

	w.edit(t, starterJob, `  input: "{{ body }}"`, "  messages: [{role: user, content: \"{{ body }}\"}]")
	w.edit(t, starterJob, "  batch_size: 16\n", "")
	contains(t, ends(t, exitUsage, "check", w.job()).stderr, "its task is llm/v1/embeddings", "ask it with `input`")
}

func TestPredictions(t *testing.T) {
	t.Parallel()
	server := manyAtOnce(t)
	entity := `{name: e, external_model: {name: m, provider: mlflow-model-serving, signature: MLmodel, mlflow_model_serving_config: {model_server_url: "` + server.URL + `"}}}`
	w := served(t, entity, "  features: all\n")
	ends(t, exitDone, "run", w.job())
	if calls := server.calls.Load(); calls != 1 {
		t.Errorf("%d calls for 40 rows", calls)
	}
	contains(t, ends(t, exitDone, "table", "show", w.path("out/reviews_mood")).stdout, "STRUCT<label: STRING, score: DOUBLE>")
	contains(t, ends(t, exitDone, "table", "head", w.path("out/reviews_mood"), "-n", "2", "-c", "response").stdout, `{"label":"fine","score":2.5}`)
	contains(t, ends(t, exitDone, "ask", "mood", `{"product": "lamp", "review_id": 9}`, "-c", w.path("catalog.yaml")).stdout, `"score":9.5`)
	for question, want := range map[string]string{
		"nine": "is JSON", `[{"a":1},{"b":1}]`: "row 2 has not the features of the first one: a",
	} {
		contains(t, ends(t, exitUsage, "ask", "mood", question, "-c", w.path("catalog.yaml")).stderr, want)
	}

	w.edit(t, starterJob, "  features: all\n", "  features: {review_id: review_id, prodct: product, x: bdy}\n")
	contains(t, ends(t, exitUsage, "check", w.job()).stderr,
		"the model needs the input `product` (string)", "the model has no input `prodct`", "did you mean `product`?", "the model has no input `x`")
	w.edit(t, starterCatalog, "signature: MLmodel, ", "")
	contains(t, ends(t, exitUsage, "check", w.job()).stderr, "the source has no column `bdy`, did you mean `body`?")
	w.edit(t, starterJob, "  features: {review_id: review_id, prodct: product, x: bdy}\n", "  features: all\n")
	contains(t, ends(t, exitUsage, "check", w.job()).stderr, "the signature of the model is not known, list the columns")
	w.edit(t, starterJob, "  features: all\n", "  features: [review_id]\n  layout: inputs\n  response_format: \"STRUCT<label: STRING>\"\n  input: x\n")
	contains(t, ends(t, exitUsage, "check", w.job()).stderr, "has both `input` and `features`")
	w.edit(t, starterJob, "  features: [review_id]\n", "")
	contains(t, ends(t, exitUsage, "check", w.job()).stderr,
		"`request.layout` is for a request of `features`", "`request.response_format` is for a request of `messages` or `features`")
}

// TestNamelessInput: a model of arrays gets the listed columns as one array.
func TestNamelessInput(t *testing.T) {
	t.Parallel()
	server := newModelServer(t, func(w http.ResponseWriter, r *http.Request) {
		var asked struct {
			Inputs [][]float64 `json:"inputs"`
		}
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || len(asked.Inputs) != 3 || len(asked.Inputs[1]) != 2 {
			t.Errorf("got %v: %v", asked.Inputs, err)
		}
		sums := make([]float64, 0, len(asked.Inputs))
		for _, row := range asked.Inputs {
			sums = append(sums, row[0]+row[1])
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"predictions": sums})
	})
	entity := `{name: e, external_model: {name: m, provider: mlflow-model-serving, signature: MLmodel, mlflow_model_serving_config: {model_server_url: "` + server.URL + `"}}}`
	w := served(t, entity, "  features: [n, m]\n")
	for from, to := range map[string]string{
		"  delta: main.shop.reviews          # a name from the catalog, or a path such as ./data/reviews\n": "  files: numbers.csv\n",
		"  columns: [review_id, product, body]\n":                                                           "", "key: [review_id] ": "key: [n]",
		"  where: \"size(body) > 0\"           # CEL over the columns; leave it out to take every row\n": "",
		"sink: {delta: main.shop.reviews_mood}":                                                          "sink: {delta: ./out/numbers}",
	} {
		w.edit(t, starterJob, from, to)
	}
	if err := os.WriteFile(w.path("numbers.csv"), []byte("n,m\n1,2\n3,4\n6,7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.path("MLmodel"), []byte(`flavors: {sklearn: {}}
signature:
  inputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1]}}]'
`), 0o600); err != nil {
		t.Fatal(err)
	}
	ends(t, exitDone, "run", w.job())
	contains(t, ends(t, exitDone, "table", "head", w.path("out/numbers"), "-n", "3", "-c", "response").stdout, "13\n")
	w.edit(t, starterJob, "  features: [n, m]\n", "  features: {a: n, b: m}\n")
	contains(t, ends(t, exitUsage, "check", w.job()).stderr, "the model's input has no name, list the columns")
	w.edit(t, starterJob, "  features: {a: n, b: m}\n", "  features: all\n")
	contains(t, ends(t, exitUsage, "check", w.job()).stderr, "the model's input has no name, list the columns")
}

// TestCompletions: the input is the prompt, one row a request.
func TestCompletions(t *testing.T) {
	t.Parallel()
	server := newModelServer(t, func(w http.ResponseWriter, r *http.Request) {
		var asked struct {
			Prompt string `json:"prompt"`
		}
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || !strings.HasPrefix(asked.Prompt, "Once: ") {
			t.Errorf("got %+v: %v", asked, err)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"choices":[{"text":" upon a time","finish_reason":"stop"}],"model":"m","usage":{"prompt_tokens":4,"completion_tokens":3}}`)
	})
	entity := `{name: e, external_model: {name: m, provider: custom, task: llm/v1/completions, custom_provider_config: {custom_provider_url: "` + server.URL + `/v1"}}}`
	w := served(t, entity, "  input: \"Once: {{ body }}\"\n  batch_tokens: 7\n")
	contains(t, ends(t, exitUsage, "check", w.job()).stderr, "a completion has one row")
	w.edit(t, starterJob, "  batch_tokens: 7\n", "")
	ends(t, exitDone, "run", w.job())
	if calls := server.calls.Load(); calls != 40 {
		t.Errorf("%d calls for 40 rows", calls)
	}
	contains(t, ends(t, exitDone, "table", "head", w.path("out/reviews_mood"), "-n", "1", "-c", "response").stdout, " upon a time")
}

// TestTwoSignatures: a question that one model takes and the other does not is told, beside what fits neither.
func TestTwoSignatures(t *testing.T) {
	t.Parallel()
	entity := func(name, signature string) string {
		return `{name: ` + name + `, external_model: {name: m, provider: mlflow-model-serving, signature: ` + signature +
			`, mlflow_model_serving_config: {model_server_url: "http://127.0.0.1:1"}}}`
	}
	w := served(t, entity("e", "MLmodel")+"\n        - "+entity("f", "other")+
		"\n      traffic_config: {routes: [{served_entity_name: e, traffic_percentage: 50}, {served_entity_name: f, traffic_percentage: 50}]}",
		"  features: [review_id]\n")
	if err := os.WriteFile(w.path("other"), []byte(strings.Replace(mlmodel, "double", "float", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	contains(t, ends(t, exitUsage, "check", w.job()).stderr,
		"different signatures: f is not like the first", "the model needs the input `product` (string)")
}

// TestUntypedPredictions: where nobody says what a model gives, the answer is its JSON.
func TestUntypedPredictions(t *testing.T) {
	t.Parallel()
	server := manyAtOnce(t)
	entity := `{name: e, external_model: {name: m, provider: mlflow-model-serving, mlflow_model_serving_config: {model_server_url: "` + server.URL + `"}}}`
	w := served(t, entity, "  features: [review_id]\n")
	ends(t, exitDone, "run", w.job())
	contains(t, ends(t, exitDone, "table", "show", w.path("out/reviews_mood")).stdout, "response   STRING")
	contains(t, ends(t, exitDone, "table", "head", w.path("out/reviews_mood"), "-n", "1", "-c", "response").stdout, `{"label":"fine","score":1.5}`)
}
