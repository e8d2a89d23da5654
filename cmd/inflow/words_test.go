package main

import "testing"

func TestQuoteIsForAShell(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{
		"out/a-b_1.yaml": "out/a-b_1.yaml", "my demo": "'my demo'", "it's": `'it'\''s'`, "": "''", "$HOME": "'$HOME'", "größe": "größe",
	} {
		if got := quote(word); got != want {
			t.Errorf("quote(%q) = %s, want %s", word, got, want)
		}
	}
}

func TestNumbersInWords(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		count(0): "0", count(999): "999", count(1000): "1,000", count(-1234567): "-1,234,567",
		counted(1, "row"): "1 row", counted(0, "row"): "0 rows",
		dollars(0): "$0.00", dollars(0.0123): "$0.012300", dollars(12.345): "$12.35",
		cost(0, false): "no price known", cost(0.5, false): "at least $0.500000", cost(2, true): "$2.00",
		size(1023): "1023 B", size(1536): "1.5 KiB", size(5 << 40): "5.0 TiB", size(5 << 50): "5120.0 TiB",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
