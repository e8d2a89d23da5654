// Package prices knows what a token costs. Prices are data: a versioned book, in decimals, without rounding.
package prices

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow/decimal128"
	"go.yaml.in/yaml/v3"

	"github.com/inflowhq/inflow/schemas"
)

//go:embed book.yaml
var builtIn []byte

// perMillionScale turns dollars per million tokens into units of USD per token.
const perMillionScale = schemas.USDScale - 6

// Book is a list of prices with a version.
type Book struct {
	version string
	models  map[string]price // by "provider/model"
}

type price struct{ input, output, cacheRead schemas.USD }

// Default returns the book that comes with Inflow.
func Default() (*Book, error) { return Parse(builtIn) }

// Parse reads a book.
func Parse(data []byte) (*Book, error) {
	var file struct {
		Version string `yaml:"version"`
		Models  map[string]struct {
			Input     string `yaml:"input"`
			Output    string `yaml:"output"`
			CacheRead string `yaml:"cache_read"`
		} `yaml:"models"`
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("price book: %w", err)
	}
	book := &Book{version: file.Version, models: make(map[string]price, len(file.Models))}
	for _, name := range slices.Sorted(maps.Keys(file.Models)) {
		entry := file.Models[name]
		if entry.CacheRead == "" {
			entry.CacheRead = entry.Input
		}
		var parsed price
		for _, amount := range []struct {
			text string
			to   *schemas.USD
		}{{entry.Input, &parsed.input}, {entry.Output, &parsed.output}, {entry.CacheRead, &parsed.cacheRead}} {
			number, err := decimal128.FromString(amount.text, 38, perMillionScale)
			if err != nil || number.Sign() < 0 {
				return nil, fmt.Errorf("price book: %s: %q is no price in dollars per million tokens", name, amount.text)
			}
			*amount.to = schemas.USD(number)
		}
		book.models[name] = parsed
	}
	return book, nil
}

// Version names the book, as it stands in the usage table.
func (b *Book) Version() string { return b.version }

// Cost returns what the usage costs at a provider's model; ok is false where no price is known. A dated model
// name ("gpt-4o-mini-2024-07-18") has the price of the longest known name that it begins with.
func (b *Book) Cost(provider, model string, usage *schemas.Usage) (cost schemas.USD, ok bool) {
	if provider == "embedded" {
		return schemas.USD{}, true
	}
	found, ok := b.find(provider, model)
	if !ok {
		return schemas.USD{}, false
	}
	input := usage.InputTokens
	total := schemas.USD{}
	if usage.CacheReadInputTokens != nil {
		cached := min(*usage.CacheReadInputTokens, input)
		input -= cached
		total = times(found.cacheRead, cached)
	}
	return total.Add(times(found.input, input)).Add(times(found.output, usage.OutputTokens)), true
}

func (b *Book) find(provider, model string) (price, bool) {
	for name := model; name != ""; {
		if found, ok := b.models[provider+"/"+name]; ok {
			return found, true
		}
		cut := strings.LastIndexByte(name, '-')
		// Only a date may follow a known name: "gpt-4o-audio-preview" is not priced as "gpt-4o".
		if cut < 0 || strings.Trim(name[cut:], "-0123456789") != "" {
			return price{}, false
		}
		name = name[:cut]
	}
	return price{}, false
}

func times(unit schemas.USD, count int64) schemas.USD {
	return schemas.USD(unit.Num().Mul(decimal128.FromI64(count)))
}
