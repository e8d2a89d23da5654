// Package prices knows what a token costs. Prices are data: a versioned book, in decimals, without rounding.
package prices

import (
	"cmp"
	_ "embed"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow/decimal128"
	"github.com/shopspring/decimal"
	"go.yaml.in/yaml/v3"

	"github.com/inflowhq/inflow/schemas"
)

//go:embed book.yaml
var builtIn []byte

// perMillion turns dollars per million tokens into dollars per token.
const perMillion = -6

// Book is a list of prices with a version. It is immutable.
type Book struct {
	version string
	models  map[string]*price // by "provider/model"
	// dated is what may follow a known name: a date or a revision. "gpt-4o-audio-preview" is not priced as "gpt-4o",
	// nor "claude-sonnet-4-9" as "claude-sonnet-4".
	dated *regexp.Regexp
}

// price is what a model costs.
type price struct {
	standard rates
	// above are the rates of longer requests, by the input tokens above which they hold, the highest first. All of
	// such a request has them, not only what is above.
	above []tier
	// tiers are the rates of other service tiers, by the provider's name for them: flex, batch, priority.
	tiers map[string]rates
}

type tier struct {
	tokens int64
	rates  rates
}

// rates are dollars a token, and a request.
type rates struct {
	input, output, cacheRead, cacheCreation, reasoning, inputAudio, outputAudio, request schemas.USD
}

// entry is a price as the book has it: dollars per million tokens, and per request.
type entry struct {
	Rates `yaml:",inline"`

	Above map[int64]Rates  `yaml:"above"`
	Tiers map[string]Rates `yaml:"tiers"`
}

// Rates are one line of the book. What is empty costs what it is a part of: cached input as input, reasoning as output.
type Rates struct {
	Input         string `yaml:"input"`
	Output        string `yaml:"output"`
	CacheRead     string `yaml:"cache_read"`
	CacheCreation string `yaml:"cache_creation"`
	Reasoning     string `yaml:"reasoning"`
	InputAudio    string `yaml:"input_audio"`
	OutputAudio   string `yaml:"output_audio"`
	PerRequest    string `yaml:"per_request"`
}

// Default returns the book that comes with Inflow.
func Default() (*Book, error) { return Parse(builtIn) }

// Parse reads a book: our own YAML, or the JSON file of prices that LiteLLM publishes. In the latter, what has no
// price a token is left out.
func Parse(data []byte) (*Book, error) {
	if models, version, ok := liteLLM(data); ok {
		return compile(version, models)
	}
	var file struct {
		Version string           `yaml:"version"`
		Models  map[string]entry `yaml:"models"`
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(data)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		return nil, fmt.Errorf("%w: price book: %w", schemas.ErrInvalid, err)
	}
	if file.Version == "" {
		return nil, fmt.Errorf("%w: price book: there is no version; write `version: \"2026-11-01\"`: it stands in every usage row", schemas.ErrInvalid)
	}
	return compile(file.Version, file.Models)
}

func compile(version string, models map[string]entry) (*Book, error) {
	book := &Book{
		version: version, models: make(map[string]*price, len(models)),
		dated: regexp.MustCompile(`(-\d{4}-\d{2}-\d{2}|[-@]\d{8}|-\d{2}-\d{4}|-\d{3}|-v\d+(:\d+)?|:\d+)$`),
	}
	for _, name := range slices.Sorted(maps.Keys(models)) {
		listed := models[name]
		compiled := &price{tiers: make(map[string]rates, len(listed.Tiers))}
		var err error
		if compiled.standard, err = listed.compile(Rates{}); err != nil {
			return nil, fmt.Errorf("%w: price book: %s: %w", schemas.ErrInvalid, name, err)
		}
		for tokens, above := range listed.Above {
			parsed, err := above.compile(listed.Rates)
			if err != nil {
				return nil, fmt.Errorf("%w: price book: %s: above %d: %w", schemas.ErrInvalid, name, tokens, err)
			}
			compiled.above = append(compiled.above, tier{tokens, parsed})
		}
		slices.SortFunc(compiled.above, func(a, b tier) int { return cmp.Compare(b.tokens, a.tokens) })
		for served, tiered := range listed.Tiers {
			if compiled.tiers[served], err = tiered.compile(listed.Rates); err != nil {
				return nil, fmt.Errorf("%w: price book: %s: tier %s: %w", schemas.ErrInvalid, name, served, err)
			}
		}
		book.models[name] = compiled
	}
	return book, nil
}

// compile reads the rates; what is left out is as in base, or as what it is a part of.
func (r Rates) compile(base Rates) (out rates, err error) {
	or := func(texts ...string) string {
		for _, text := range texts {
			if text != "" {
				return text
			}
		}
		return ""
	}
	input, output := or(r.Input, base.Input), or(r.Output, base.Output, "0")
	if or(r.PerRequest, base.PerRequest) != "" {
		input = or(input, "0")
	}
	for _, amount := range []struct {
		text  string
		shift int32
		to    *schemas.USD
	}{
		{input, perMillion, &out.input},
		{output, perMillion, &out.output},
		{or(r.CacheRead, base.CacheRead, input), perMillion, &out.cacheRead},
		{or(r.CacheCreation, base.CacheCreation, input), perMillion, &out.cacheCreation},
		{or(r.Reasoning, base.Reasoning, output), perMillion, &out.reasoning},
		{or(r.InputAudio, base.InputAudio, input), perMillion, &out.inputAudio},
		{or(r.OutputAudio, base.OutputAudio, output), perMillion, &out.outputAudio},
		{or(r.PerRequest, base.PerRequest, "0"), 0, &out.request},
	} {
		if *amount.to, err = dollars(amount.text, amount.shift); err != nil {
			return rates{}, err
		}
	}
	return out, nil
}

// maxDollars bounds a price, so that no bill can overflow: nobody asks a million dollars for a token.
const maxDollars = 1_000_000

// dollars reads an amount and moves its point.
func dollars(text string, shift int32) (schemas.USD, error) {
	const longest = 64 // "1e999999999" is short, and its digits are not
	amount, err := decimal.NewFromString(text)
	if err != nil || len(text) > longest || amount.Sign() < 0 || amount.Exponent() < -longest || amount.Exponent() > longest ||
		amount.Cmp(decimal.NewFromInt(maxDollars)) > 0 {
		return schemas.USD{}, fmt.Errorf("%q is no price in dollars", text[:min(len(text), longest)])
	}
	exact := amount.Shift(shift + schemas.USDScale)
	if !exact.IsInteger() {
		return schemas.USD{}, fmt.Errorf("%q has more decimals than a cost has", text)
	}
	return schemas.USD(decimal128.FromBigInt(exact.BigInt())), nil
}

// With returns the book with another's prices before its own. The version names both.
func (b *Book) With(own *Book) *Book {
	models := maps.Clone(b.models)
	maps.Copy(models, own.models)
	return &Book{version: b.version + "+" + own.version, models: models, dated: b.dated}
}

// Version names the book, as it stands in the usage table.
func (b *Book) Version() string { return b.version }

// Cost returns what one call costs that used so much of a provider's model; ok is false where no price is known. A
// dated model name ("gpt-4o-mini-2024-07-18") has the price of the longest known name that it begins with.
func (b *Book) Cost(provider, model string, usage *schemas.Usage) (cost schemas.USD, ok bool) {
	return b.Sum(provider, model, usage, 1)
}

// Sum is Cost of that many calls alike, which used so much together.
func (b *Book) Sum(provider, model string, usage *schemas.Usage, calls int64) (cost schemas.USD, ok bool) {
	if provider == "embedded" {
		return schemas.USD{}, true
	}
	found := b.find(provider, model)
	if found == nil {
		return schemas.USD{}, false
	}
	rates, ok := found.rates(usage, calls)
	if !ok {
		return schemas.USD{}, false
	}
	input, output := usage.InputTokens, usage.OutputTokens
	total := times(rates.request, calls)
	for _, part := range []struct {
		of    *int64 // the sum that the part is taken from
		count *int64
		rate  schemas.USD
	}{
		{&input, usage.CacheReadInputTokens, rates.cacheRead},
		{&input, usage.CacheCreationInputTokens, rates.cacheCreation},
		{&input, usage.InputAudioTokens, rates.inputAudio},
		{&output, usage.OutputReasoningTokens, rates.reasoning},
		{&output, usage.OutputAudioTokens, rates.outputAudio},
	} {
		if part.count == nil {
			continue
		}
		count := min(*part.count, *part.of)
		*part.of -= count
		total = total.Add(times(part.rate, count))
	}
	return total.Add(times(rates.input, input)).Add(times(rates.output, output)), true
}

// rates are those that a call with this usage has. A service tier without a line has no known price.
func (p *price) rates(usage *schemas.Usage, calls int64) (rates, bool) {
	switch usage.ServiceTier {
	case "", "default", "standard", "auto", "on_demand":
	default:
		found, ok := p.tiers[usage.ServiceTier]
		return found, ok
	}
	for i := range p.above {
		if usage.InputTokens/max(1, calls) > p.above[i].tokens {
			return p.above[i].rates, true
		}
	}
	return p.standard, true
}

func (b *Book) find(provider, model string) *price {
	for name := model; ; {
		if found, ok := b.models[provider+"/"+name]; ok {
			return found
		}
		end := b.dated.FindStringIndex(name)
		if end == nil {
			break
		}
		name = name[:end[0]]
	}
	// Bedrock's inference profiles put a region before the model: "eu.anthropic.claude-...".
	if region, rest, ok := strings.Cut(model, "."); ok && slices.Contains([]string{"us", "us-gov", "eu", "apac", "jp", "au", "global"}, region) {
		return b.find(provider, rest)
	}
	return nil
}

func times(unit schemas.USD, count int64) schemas.USD {
	return schemas.USD(unit.Num().Mul(decimal128.FromI64(count)))
}
