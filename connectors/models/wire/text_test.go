package wire_test

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/inflowhq/inflow/connectors/models/wire"
)

// TestCount: what no call can have counted is no count, however it is written.
func TestCount(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]int64{"0": 0, "20": 20, "20.0": 20, "2e1": 20, "null": -1, `""`: -2, `"20"`: -2, "-1": -2, "0.5": -2, "1e99": -2, "9000000000000000": -2, "[]": -2} {
		ok := true
		got := wire.Count(gjson.Parse(raw), &ok)
		switch {
		case want == -1 && (got != nil || !ok), want == -2 && ok, want >= 0 && (!ok || got == nil || *got != want):
			t.Errorf("%s: got %v %t, want %d", raw, got, ok, want)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	for _, seed := range []string{"", "a\"b\\c", "\x00\x1f\x7f", "é😀\u2028", "\xff\xc3(", "\xed\xa0\x80", "\uFFFD", "tail\xc3"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var got, want string
		encoded := wire.AppendString(nil, text)
		if err := json.Unmarshal(encoded, &got); err != nil {
			t.Fatalf("%q: %s: %v", text, encoded, err)
		}
		if !utf8.Valid(encoded) { // encoding/json would read it all the same; providers do not
			t.Fatalf("%q: %q is not UTF-8", text, encoded)
		}
		standard, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(standard, &want); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Fatalf("%q became %q, encoding/json has %q", text, got, want)
		}
	})
}
