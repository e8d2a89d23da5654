package main

import (
	"slices"
	"testing"
)

func TestNumbersStandToTheRightAndTextsToTheLeft(t *testing.T) {
	t.Parallel()
	app, out := newTestApp()
	app.printTable([]string{"name", "n", "dollars", "mixed"}, [][]string{
		{"a", "1,000", "$0.50", "7"}, {"bcdef", "-2", "$12.00", "seven"}, {"g", "", "", ""},
	})
	want := " name       n  dollars  mixed\n──────────────────────────────\n a      1,000    $0.50  7\n bcdef     -2   $12.00  seven\n g\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestFitTakesFromTheWidestColumn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		widths     []int
		shrinkable []bool
		total      int
		want       []int
	}{
		{[]int{10, 40, 8}, []bool{true, true, true}, 80, []int{10, 40, 8}},
		{[]int{10, 40, 8}, []bool{true, true, true}, 38, []int{10, 20, 8}},
		{[]int{30, 40, 8}, []bool{false, true, true}, 60, []int{30, 22, 8}},
		{[]int{12, 13, 8}, []bool{true, true, true}, 5, []int{10, 10, 8}},
		{nil, nil, 0, nil},
	} {
		got := fit(c.widths, c.shrinkable, c.total)
		if !slices.Equal(got, c.want) {
			t.Errorf("fit(%v, %v, %d) = %v, want %v", c.widths, c.shrinkable, c.total, got, c.want)
		}
	}
}

func TestShorten(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{
		{"two  words\n", 20, "two words"},
		{"abcdef", 6, "abcdef"},
		{"abcdef", 5, "abcd…"},
		{"生命生命", 5, "生命…"},
		{"\x1b[31mred\a", 20, "�[31mred�"},
	} {
		if got := shorten(c.text, c.width); got != c.want {
			t.Errorf("shorten(%q, %d) = %q, want %q", c.text, c.width, got, c.want)
		}
	}
}
