package main

import (
	"strings"
	"testing"
)

func TestAsk(t *testing.T) {
	t.Parallel()
	w := started(t)
	catalog := w.path("catalog.yaml")
	got := ends(t, exitDone, "ask", "mood", "I love it", "--catalog", catalog).stdout
	if !strings.HasPrefix(got, "positive\n") {
		t.Errorf("the answer does not come first:\n%s", got)
	}
	contains(t, got, "sentiment at embedded", "3 in, 1 out", "$0 (prices of ", "the first token after")

	type asked struct {
		Answer       string `json:"answer"`
		InputTokens  int64  `json:"input_tokens"`
		CostUSD      string `json:"cost_usd"`
		PriceVersion string `json:"price_version"`
	}
	whole := decode[asked](t, ends(t, exitDone, "ask", "mood", "I hate it", "-c", catalog, "-o", "json", "-p", "temperature=0", "-p", "max_tokens=5").stdout)
	if whole.Answer != "negative" || whole.InputTokens != 3 || whole.CostUSD == "" || whole.PriceVersion == "" {
		t.Errorf("got %+v", whole)
	}
	for line, want := range map[string]string{
		"ask mood x -c CATALOG -p temprature=0":  "did you mean temperature?",
		"ask mood x -c CATALOG -p temperature":   "name=value",
		"ask mod x -c CATALOG":                   "there is no endpoint `mod`",
		"ask mood x -c nowhere.yaml":             "--catalog",
		"ask mood \t -c CATALOG":                 "there is no question",
		"ask mood x -c CATALOG --prices CATALOG": "price book",
	} {
		args := strings.Split(strings.ReplaceAll(line, "CATALOG", catalog), " ")
		contains(t, ends(t, exitUsage, args...).stderr, want)
	}
}

func TestModels(t *testing.T) {
	t.Parallel()
	contains(t, ends(t, exitDone, "models").stdout, "anthropic", "amazon_bedrock_config", "aws_secret_access_key", "vllm")
	type listed struct {
		Providers []struct {
			Provider string          `json:"provider"`
			Supports map[string]bool `json:"supports"`
		} `json:"providers"`
	}
	for _, p := range decode[listed](t, ends(t, exitDone, "models", "-o", "json").stdout).Providers {
		predicts := p.Provider == "mlflow-model-serving"
		for _, feature := range []string{"chat", "tools", "response_format"} {
			if p.Supports[feature] == predicts {
				t.Errorf("%s and %s: got %t", p.Provider, feature, predicts)
			}
		}
		if p.Supports["predictions"] != (predicts || p.Provider == "databricks-model-serving") {
			t.Errorf("%s predicts: got %t", p.Provider, p.Supports["predictions"])
		}
	}
}
