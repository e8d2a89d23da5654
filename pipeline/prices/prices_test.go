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
	cached := int64(400)
	cases := []struct {
		provider, model string
		usage           schemas.Usage
		want            string // empty: no price
	}{
		{"openai", "gpt-4o-mini", schemas.Usage{InputTokens: 1_000_000, OutputTokens: 1_000_000}, "0.750000000000000000"},
		{"openai", "gpt-4o-mini-2024-07-18", schemas.Usage{InputTokens: 1}, "0.000000150000000000"},
		{"openai", "gpt-4o-mini", schemas.Usage{InputTokens: 1000, CacheReadInputTokens: &cached}, "0.000120000000000000"},
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
	for _, text := range []string{`"cheap"`, `"-1"`, `""`} {
		_, err := prices.Parse([]byte("version: v\nmodels:\n  openai/x: {input: " + text + `, output: "1"}`))
		if err == nil || !strings.Contains(err.Error(), "openai/x") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("version: v\nmodels:\n  openai/x: {input: \"1\", output: \"2\"}"))
	f.Add([]byte("models: 3"))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = prices.Parse(data) })
}
