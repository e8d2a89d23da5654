package prices_test

import (
	"strings"
	"testing"

	"github.com/inflowhq/inflow/pipeline/prices"
	"github.com/inflowhq/inflow/schemas"
)

func TestCost(t *testing.T) {
	t.Parallel()
	book, err := prices.Default()
	if err != nil {
		t.Fatal(err)
	}
	cached, written, thought, heard := int64(400), int64(100), int64(10), int64(50)
	cases := []struct {
		provider, model string
		usage           schemas.Usage
		want            string // empty: no price
	}{
		{"openai", "gpt-4o-mini", schemas.Usage{InputTokens: 1_000_000, OutputTokens: 1_000_000}, "0.750000000000000000"},
		{"openai", "gpt-4o-mini-2024-07-18", schemas.Usage{InputTokens: 1}, "0.000000150000000000"},
		{"openai", "gpt-4o-mini", schemas.Usage{InputTokens: 1000, CacheReadInputTokens: &cached}, "0.000120000000000000"},
		// 500 fresh, 400 read and 100 written at 3, 0.30 and 3.75; 20 out at 15.
		{"anthropic", "claude-sonnet-4-5-20250929", schemas.Usage{InputTokens: 1000, OutputTokens: 20, CacheReadInputTokens: &cached, CacheCreationInputTokens: &written}, "0.002295000000000000"},
		// A token more, and all of them cost twice as much.
		{"anthropic", "claude-sonnet-4-5", schemas.Usage{InputTokens: 200_000}, "0.600000000000000000"},
		{"anthropic", "claude-sonnet-4-5", schemas.Usage{InputTokens: 200_001}, "1.200006000000000000"},
		{"gemini", "gemini-2.5-flash", schemas.Usage{InputTokens: 100, InputAudioTokens: &heard}, "0.000065000000000000"},
		{"openai", "gpt-5", schemas.Usage{OutputTokens: 30, OutputReasoningTokens: &thought}, "0.000300000000000000"},
		{"openai", "gpt-5", schemas.Usage{InputTokens: 1000, ServiceTier: "flex"}, "0.000625000000000000"},
		{"openai", "gpt-5", schemas.Usage{InputTokens: 1000, ServiceTier: "default"}, "0.001250000000000000"},
		{"openai", "gpt-5", schemas.Usage{InputTokens: 1000, ServiceTier: "priority"}, ""},
		{"amazon-bedrock", "eu.anthropic.claude-haiku-4-5-20251001-v1:0", schemas.Usage{InputTokens: 1000}, "0.001100000000000000"},
		{"amazon-bedrock", "global.anthropic.claude-haiku-4-5-20251001-v1:0", schemas.Usage{InputTokens: 1000}, "0.001000000000000000"},
		{"openai", "gpt-4o-2024-05-13", schemas.Usage{InputTokens: 1000}, "0.005000000000000000"},
		{"anthropic", "claude-sonnet-4-9", schemas.Usage{InputTokens: 1}, ""},
		{"cohere", "command-r-08-2024", schemas.Usage{InputTokens: 1_000_000}, "0.150000000000000000"},
		{"openai", "gpt-4o-audio-preview", schemas.Usage{InputTokens: 1}, ""},
		{"openai", "gpt-9", schemas.Usage{InputTokens: 1}, ""},
		{"custom", "gpt-4o-mini", schemas.Usage{InputTokens: 1}, ""},
		{"embedded", "sentiment", schemas.Usage{InputTokens: 1 << 40}, "0.000000000000000000"},
	}
	for _, c := range cases {
		t.Run(c.provider+"/"+c.model, func(t *testing.T) {
			t.Parallel()
			cost, ok := book.Cost(c.provider, c.model, &c.usage)
			if ok != (c.want != "") || ok && cost.String() != c.want {
				t.Errorf("got %s, %v", cost, ok)
			}
		})
	}
	if book.Version() == "" {
		t.Error("the book has no version")
	}
}

func TestABadPriceIsNamed(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`"cheap"`, `"-1"`, `""`, `"1e9"`, `"1e-13"`, `"1e-999999999"`} {
		_, err := prices.Parse([]byte("version: v\nmodels:\n  openai/x: {input: " + text + `, output: "1"}`))
		if err == nil || !strings.Contains(err.Error(), "openai/x") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestBooksOfOthers(t *testing.T) {
	t.Parallel()
	base, err := prices.Default()
	if err != nil {
		t.Fatal(err)
	}
	own, err := prices.Parse([]byte("version: ours-7\nmodels:\n  custom/llama: {input: \"0.10\", output: \"0.20\", per_request: \"0.01\"}\n  openai/gpt-4o: {input: \"1\"}\n  custom/wine: {per_request: \"0.5\"}"))
	if err != nil {
		t.Fatal(err)
	}
	both := base.With(own)
	if both.Version() != base.Version()+"+ours-7" {
		t.Errorf("got version %s", both.Version())
	}
	usage := &schemas.Usage{InputTokens: 1_000_000, OutputTokens: 1_000_000}
	for model, want := range map[string]string{
		"custom/llama": "0.310000000000000000", "openai/gpt-4o": "1.000000000000000000", "openai/gpt-4o-mini": "0.750000000000000000",
		"custom/wine": "0.500000000000000000",
	} {
		provider, name, _ := strings.Cut(model, "/")
		if cost, ok := both.Cost(provider, name, usage); !ok || cost.String() != want {
			t.Errorf("%s: got %s, %v", model, cost, ok)
		}
	}
	if _, err := prices.Parse([]byte("version: v\nmodels:\n  openai/x: {inptu: \"1\"}")); err == nil || !strings.Contains(err.Error(), "inptu") {
		t.Errorf("a misspelt field: %v", err)
	}
	if _, err := prices.Parse([]byte("models: {}")); err == nil || !strings.Contains(err.Error(), "version") {
		t.Errorf("no version: %v", err)
	}
}

// TestLiteLLM reads entries in the shape of LiteLLM's file, with its exponents, suffixes and prose.
func TestLiteLLM(t *testing.T) {
	t.Parallel()
	book, err := prices.Parse([]byte(`{
		"sample_spec": {"litellm_provider": "one of the providers", "input_cost_per_token": 0.0, "max_tokens": "prose"},
		"gpt-x": {"litellm_provider": "openai", "input_cost_per_token": 1e-05, "output_cost_per_token": 3e-05, "mode": "chat",
			"cache_read_input_token_cost": 1.0000000000000002e-06, "input_cost_per_token_priority": -1, "output_cost_per_token_flex": 1e999999999, "max_tokens": 1e3000000, "input_cost_per_token_batches": 5e-06, "input_cost_per_token_above_200k_tokens": 2e-05},
		"openrouter/vendor/model": {"litellm_provider": "openrouter", "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06},
		"bedrock/eu-west-1/vendor.model-v1:0": {"litellm_provider": "bedrock", "input_cost_per_token": 9e-06},
		"vendor.model-v1:0": {"litellm_provider": "bedrock_converse", "input_cost_per_token": 2e-06},
		"image": {"litellm_provider": "openai", "output_cost_per_image": 0.04}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		provider, model string
		usage           schemas.Usage
		want            string
	}{
		{"openai", "gpt-x", schemas.Usage{InputTokens: 3, OutputTokens: 1}, "0.000060000000000000"},
		{"openai", "gpt-x", schemas.Usage{InputTokens: 200_001}, "4.000020000000000000"},
		{"openai", "gpt-x", schemas.Usage{InputTokens: 1, ServiceTier: "batch"}, "0.000005000000000000"},
		{"openrouter", "vendor/model", schemas.Usage{InputTokens: 1}, "0.000001000000000000"},
		{"amazon-bedrock", "vendor.model-v1:0", schemas.Usage{InputTokens: 1}, "0.000002000000000000"},
		{"openai", "image", schemas.Usage{InputTokens: 1}, ""},
	} {
		cost, ok := book.Cost(c.provider, c.model, &c.usage)
		if ok != (c.want != "") || ok && cost.String() != c.want {
			t.Errorf("%s/%s: got %s, %v; want %s", c.provider, c.model, cost, ok, c.want)
		}
	}
	if !strings.HasPrefix(book.Version(), "litellm-") {
		t.Errorf("got version %s", book.Version())
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("version: v\nmodels:\n  openai/x: {input: \"1\", output: \"2\"}"))
	f.Add([]byte("models: 3"))
	f.Add([]byte(`{"m":{"litellm_provider":"openai","input_cost_per_token":1e-5,"output_cost_per_token_above_9999999999k_tokens":1}}`))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = prices.Parse(data) })
}
