package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/inflowhq/inflow/jobs"
)

// maxQuestion bounds a question that is read from stdin, in bytes.
const maxQuestion = 4 << 20

func (a *app) ask() *cobra.Command {
	ask := &jobs.Ask{}
	var parameters []string
	c := &cobra.Command{
		Use:   "ask ENDPOINT [QUESTION]",
		Short: "Put one question; see the answer, tokens, price and time",
		Long: "Ask resolves the endpoint in the catalog, with its privileges, traffic split and fallback, and puts one question.\n" +
			"The answer is shown as it comes. Nothing is written down: runs are audited, this is for a look.\n" +
			"Without QUESTION it is read from standard input. A model that predicts is asked with a row in JSON, or a list of rows.",
		Example: "  inflow ask mood \"I love it\" --catalog demo/catalog.yaml\n" +
			"  inflow ask triage \"$(cat ticket.txt)\" --system \"You triage tickets.\" -p temperature=0 -p max_tokens=200\n" +
			"  inflow ask wine '{\"sugar\": 3.5, \"year\": 2019, \"kind\": \"red\"}'",
		Args: argCount(1, 2),
		RunE: func(c *cobra.Command, args []string) (err error) {
			ask.Endpoint = args[0]
			if len(args) == 2 {
				ask.Question = args[1]
			} else if ask.Question, err = readQuestion(c.InOrStdin()); err != nil {
				return err
			}
			if strings.TrimSpace(ask.Question) == "" {
				return usagef("there is no question\n  usage: %s", c.UseLine())
			}
			if ask.Parameters, err = parseParameters(parameters); err != nil {
				return err
			}
			if _, err := os.Stat(ask.Catalog); err != nil {
				return usagef("the catalog: %v\n  name it with --catalog, or make one with: %s", err, a.command("init"))
			}
			return a.putQuestion(c, ask)
		},
	}
	flags := c.Flags()
	flags.StringVarP(&ask.Catalog, "catalog", "c", "catalog.yaml", "the catalog file that knows the endpoint")
	flags.StringVar(&ask.Prices, "prices", "", "a price book that goes before Inflow's own")
	flags.StringVarP(&ask.System, "system", "s", "", "the system message")
	flags.StringArrayVarP(&parameters, "parameter", "p", nil, "a sampling parameter as name=value, the value in JSON; may be given again")
	flags.DurationVar(&ask.Timeout, "timeout", 2*time.Minute, "how long to wait for the answer")
	return c
}

func readQuestion(in io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(in, maxQuestion+1))
	if err == nil && len(data) > maxQuestion {
		err = usagef("the question is longer than %d MiB", maxQuestion>>20)
	}
	return string(data), err
}

// parseParameters reads name=value; what is no JSON is a text.
func parseParameters(given []string) (map[string]any, error) {
	out := make(map[string]any, len(given))
	for _, each := range given {
		name, text, ok := strings.Cut(each, "=")
		if !ok || name == "" {
			return nil, usagef("-p %s: write it as name=value, for example -p temperature=0", each)
		}
		var value any
		if json.Unmarshal([]byte(text), &value) != nil {
			value = text
		}
		out[name] = value
	}
	return out, nil
}

func (a *app) putQuestion(c *cobra.Command, ask *jobs.Ask) error {
	asText := a.output == outputText
	asked, err := ask.Put(c.Context(), a.lookupEnv, func(text string) {
		if asText {
			a.printf("%s", printable(text))
		}
	})
	if err != nil {
		return err
	}
	if !asText {
		return a.printJSON(struct {
			*jobs.Asked

			FirstTokenMS int64 `json:"time_to_first_token_ms"`
			LatencyMS    int64 `json:"latency_ms"`
		}{asked, asked.FirstToken.Milliseconds(), asked.Latency.Milliseconds()})
	}
	a.printf("\n\n")
	price := "no price is known; give one with --prices"
	if asked.CostUSD != nil {
		price = fmt.Sprintf("$%s (prices of %s)", strings.TrimRight(strings.TrimRight(asked.CostUSD.String(), "0"), "."), asked.PriceVersion)
	}
	tokens := fmt.Sprintf("%s in, %s out", count(asked.InputTokens), count(asked.OutputTokens))
	if asked.Cached != nil && *asked.Cached > 0 {
		tokens += fmt.Sprintf(", %s of the input from the cache", count(*asked.Cached))
	}
	if asked.Reasoning != nil && *asked.Reasoning > 0 {
		tokens += fmt.Sprintf(", %s of the output for reasoning", count(*asked.Reasoning))
	}
	rows := [][]string{
		{"model", fmt.Sprintf("%s at %s (%s)", asked.Model, asked.Provider, asked.Destination)},
		{"tokens", tokens},
		{"price", price},
		{"time", fmt.Sprintf("%s, the first token after %s", asked.Latency.Round(time.Millisecond), asked.FirstToken.Round(time.Millisecond))},
	}
	if asked.Stop == "length" {
		rows = append(rows, []string{"cut", "the token limit was reached; raise it with -p max_tokens=..."})
	}
	a.printTable([]string{"endpoint", asked.Endpoint}, rows)
	return nil
}
