package embedded

import (
	"strings"
	"testing"

	"github.com/jonreiter/govader"
)

func models() map[string]model {
	return map[string]model{
		modelSentiment: sentiment{govader.NewSentimentIntensityAnalyzer()}, modelLanguage: language{},
	}
}

func packageText() string {
	return strings.Repeat("This package provides a fast and reliable library to parse,\n validate and print documents; "+
		"it does not fail on broken input and has no known bad habits.\n ", 7) // about 1 KB
}

// TestSameEveryTime: the libraries keep their tables in maps, whose order changes from call to call.
func TestSameEveryTime(t *testing.T) {
	t.Parallel()
	for name, m := range models() {
		for _, text := range []string{"de la", "og det er", "a", "to be", "in", packageText(), "x y z", "do do do", "la le lo"} {
			first, _ := m.score(text)
			for range 50 {
				if again, _ := m.score(text); again != first {
					t.Errorf("%s of %q: %s, then %s", name, text, first, again)
					break
				}
			}
		}
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	m := models()
	if got := m[modelSentiment].words(" one  two,\nthree-four "); got != 3 {
		t.Errorf("sentiment: got %d, want 3", got)
	}
	if got := m[modelLanguage].words("one two,three-four 5"); got != 4 {
		t.Errorf("language: got %d, want 4", got)
	}
}

func FuzzScore(f *testing.F) {
	for _, seed := range []string{"", " ", "never so good", "no", "kind of", "least", "😀😀", "\xff", "bad ass", "AT LEAST!!! ????", "without doubt bad"} {
		f.Add(seed)
	}
	all := models()
	f.Fuzz(func(t *testing.T, text string) {
		for name, m := range all {
			label, row := m.score(text)
			if label == "" || row["label"] != label || m.words(text) < 0 {
				t.Fatalf("%s: got %q %v", name, label, row)
			}
			if compound, ok := row["compound"].(float64); ok && !(compound >= -1 && compound <= 1) {
				t.Fatalf("compound %v", compound)
			}
		}
	})
}

func FuzzDecodeScoring(f *testing.F) {
	for _, seed := range []string{
		`{"dataframe_split":{"columns":["id","text"],"data":[[1,"a"]]}}`, `{"dataframe_records":[{"text":"a"},null]}`,
		`{"inputs":["a",["b"],{"text":"c"}]}`, `{"inputs":{"text":["a"]}}`, `{"instances":[[]]}`, `{"inputs":{"text":{}}}`,
		`{"inputs":{}}`, `{"dataframe_split":{}}`, `{"dataframe_split":{"columns":["a"],"data":[null]}}`, `{"inputs":5}`, `[]`, `{`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		texts, err := decodeScoring(body)
		if err == nil && len(texts) > rowLimit {
			t.Fatalf("%d rows", len(texts))
		}
		if err != nil && asFault(err).status >= 500 {
			t.Fatalf("%v is the service's fault", err)
		}
	})
}

func FuzzChat(f *testing.F) {
	for _, seed := range []string{
		`{"model":"sentiment","messages":[{"role":"user","content":"a"}]}`, `{"model":"language","messages":[{"role":"user","content":[]}]}`,
		`{"model":"sentiment","messages":[null]}`, `{"model":"sentiment","n":1,"stream":false,"messages":[{"role":"user"}]}`, `null`,
	} {
		f.Add([]byte(seed))
	}
	h := &handler{models: models()}
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := h.chat(nil, body); err != nil && asFault(err).status >= 500 {
			t.Fatalf("%v is the service's fault", err)
		}
	})
}

func BenchmarkScore(b *testing.B) {
	for name, m := range models() {
		b.Run(name, func(b *testing.B) {
			text := packageText()
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				m.score(text)
			}
		})
	}
}
