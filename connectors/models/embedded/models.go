package embedded

import (
	"strings"
	"unicode"

	"github.com/abadojack/whatlanggo"
	"github.com/jonreiter/govader"
)

const (
	modelSentiment = "sentiment"
	modelLanguage  = "language"

	// undetermined is ISO 639-3's own code for a language that is not known.
	undetermined = "und"

	// sentimentThreshold is where VADER's authors draw the line on the compound score.
	sentimentThreshold = 0.05
)

// model is a function from a text to a label. It is safe for concurrent use.
type model interface {
	// score returns the label of a text, and the row that scoring answers with.
	score(text string) (label string, row map[string]any)
	// words is the number of words by the model's own splitting.
	words(text string) int
}

// sentiment is VADER. The analyzer's maps and expressions are only read, so one serves all goroutines.
type sentiment struct {
	analyzer *govader.SentimentIntensityAnalyzer
}

func (s sentiment) score(text string) (string, map[string]any) {
	// The library splits at single spaces only and takes "bad\nidea" for one unknown word; the original
	// splits at any white space.
	compound := s.analyzer.PolarityScores(strings.Join(strings.Fields(text), " ")).Compound
	label := "neutral"
	switch {
	case compound >= sentimentThreshold:
		label = "positive"
	case compound <= -sentimentThreshold:
		label = "negative"
	}
	return label, map[string]any{"label": label, "compound": compound}
}

func (sentiment) words(text string) int { return len(strings.Fields(text)) }

type language struct{}

func (language) score(text string) (string, map[string]any) {
	info := whatlanggo.Detect(text)
	// No confidence is a tie, which the library breaks by the order of a map: differently from call to call.
	if info.Lang < 0 || info.Confidence == 0 {
		return undetermined, map[string]any{"label": undetermined, "name": "Undetermined", "confidence": 0.0}
	}
	label := info.Lang.Iso6393()
	return label, map[string]any{"label": label, "name": info.Lang.String(), "confidence": info.Confidence}
}

func (language) words(text string) int {
	return len(strings.FieldsFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsPunct(r) || unicode.IsSymbol(r) || unicode.IsDigit(r)
	}))
}
