package prices

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/shopspring/decimal"
)

// versionBytes of a file's hash name its version: LiteLLM's file has none of its own.
const versionBytes = 6

// liteLLM reads LiteLLM's model_prices_and_context_window.json: an object of models, in dollars a token. ok is false
// where it is another file. What costs something else than tokens and requests is left out, as is what cannot be read:
// the file is other people's, and one bad line must not cost the others.
func liteLLM(data []byte) (models map[string]entry, version string, ok bool) {
	var file map[string]map[string]json.RawMessage
	if json.Unmarshal(data, &file) != nil {
		return nil, "", false
	}
	models = make(map[string]entry, len(file))
	for _, name := range slices.SortedFunc(maps.Keys(file), shorter) {
		fields := file[name]
		var provider string
		if json.Unmarshal(fields["litellm_provider"], &provider) != nil {
			continue
		}
		ok = true
		read := readLiteLLM(fields)
		if _, err := read.compile(Rates{}); err != nil || read.Input == "" || name == "sample_spec" {
			continue
		}
		if ours := liteLLMName(provider, name); models[ours].Input == "" {
			models[ours] = read
		}
	}
	sum := sha256.Sum256(data)
	return models, "litellm-" + hex.EncodeToString(sum[:versionBytes]), ok
}

// shorter puts the plain name of a model before those with a region in them, whose prices are higher.
func shorter(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) }

func readLiteLLM(fields map[string]json.RawMessage) entry {
	above := regexp.MustCompile(`^(.*)_above_(\d+)k_tokens$`)
	read := entry{Above: map[int64]Rates{}, Tiers: map[string]Rates{}}
	for field, raw := range fields {
		amount, ok := liteLLMAmount(raw)
		if !ok {
			continue
		}
		if match := above.FindStringSubmatch(field); match != nil {
			thousands, err := strconv.ParseInt(match[2], 10, 32)
			rates := read.Above[thousands*1000]
			if err == nil && setLiteLLM(&rates, match[1], amount) {
				read.Above[thousands*1000] = rates
			}
			continue
		}
		if setLiteLLM(&read.Rates, field, amount) {
			continue
		}
		for suffix, served := range map[string]string{"_batches": "batch", "_flex": "flex", "_priority": "priority"} {
			base, is := strings.CutSuffix(field, suffix)
			rates := read.Tiers[served]
			if is && setLiteLLM(&rates, base, amount) {
				read.Tiers[served] = rates
			}
		}
	}
	return read
}

// liteLLMAmount reads dollars a unit. 1e-05 is exact here, and is not as a float; what floats have left behind in the
// file, as 1.9999999999999998e-07, is rounded away.
func liteLLMAmount(raw json.RawMessage) (decimal.Decimal, bool) {
	const longest, places = 40, 14
	amount, err := decimal.NewFromString(string(raw))
	if err != nil || len(raw) > longest || amount.Exponent() > longest || amount.Exponent() < -longest ||
		amount.Sign() < 0 || amount.Cmp(decimal.NewFromInt(1)) > 0 {
		return amount, false
	}
	return amount.Round(places), true
}

// setLiteLLM takes in a field, and reports whether it is one of ours.
func setLiteLLM(r *Rates, field string, amount decimal.Decimal) bool {
	million := amount.Shift(-perMillion).String()
	switch field {
	case "input_cost_per_token":
		r.Input = million
	case "output_cost_per_token":
		r.Output = million
	case "cache_read_input_token_cost":
		r.CacheRead = million
	case "cache_creation_input_token_cost":
		r.CacheCreation = million
	case "output_cost_per_reasoning_token":
		r.Reasoning = million
	case "input_cost_per_audio_token":
		r.InputAudio = million
	case "output_cost_per_audio_token":
		r.OutputAudio = million
	case "input_cost_per_request":
		r.PerRequest = amount.String()
	default:
		return false
	}
	return true
}

// liteLLMName is a model's name by the provider names of the serving API.
func liteLLMName(provider, name string) string {
	ours := provider
	for prefix, known := range map[string]string{
		"bedrock": "amazon-bedrock", "vertex_ai": "google-cloud-vertex-ai", "cohere": "cohere", "databricks": "databricks-model-serving",
	} {
		if strings.HasPrefix(provider, prefix) {
			ours = known
			break
		}
	}
	// Some names have their provider before them, bedrock's a mode and a region.
	if ours == "amazon-bedrock" {
		name = name[strings.LastIndexByte(name, '/')+1:]
	}
	return ours + "/" + strings.TrimPrefix(name, provider+"/")
}
