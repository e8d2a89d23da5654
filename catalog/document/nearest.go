package document

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// maxWord bounds the names that are compared; the time grows with the product of two lengths.
const maxWord = 128

// Nearest returns the candidate that word most likely meant, empty where none is near: at most one edit in
// three characters, an edit being a letter added, lost, changed or swapped with its neighbour.
func Nearest(word string, candidates []string) string {
	best, bestDistance := "", utf8.RuneCountInString(word)/3+1
	if len(word) > maxWord {
		return ""
	}
	for _, candidate := range slices.Sorted(slices.Values(candidates)) {
		if len(candidate) > maxWord {
			continue
		}
		if distance := edits(strings.ToLower(word), strings.ToLower(candidate)); distance < bestDistance {
			best, bestDistance = candidate, distance
		}
	}
	return best
}

// DidYouMean is the mend for a name that is none of the known ones: the nearest, or else all of them.
func DidYouMean(word string, known []string) string {
	if near := Nearest(word, known); near != "" {
		return "did you mean `" + near + "`?"
	}
	if len(known) == 0 {
		return ""
	}
	return "known: " + listed(known)
}

// listed quotes names for a message, in order, and stops where a reader would.
func listed(names []string) string {
	const most = 12
	sorted := slices.Sorted(slices.Values(names))
	rest := ""
	if len(sorted) > most {
		sorted, rest = sorted[:most], ", ..."
	}
	return "`" + strings.Join(sorted, "`, `") + "`" + rest
}

// edits is the optimal string alignment distance.
func edits(a, b string) int {
	from, to := []rune(a), []rune(b)
	before, last := make([]int, len(to)+1), make([]int, len(to)+1)
	for j := range last {
		last[j] = j
	}
	for i := range from {
		row := make([]int, len(to)+1)
		row[0] = i + 1
		for j := range to {
			change := last[j]
			if from[i] != to[j] {
				change++
			}
			row[j+1] = min(change, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && from[i] == to[j-1] && from[i-1] == to[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(to)]
}
