package schemas

import "time"

// Epoch says of one commit what a reader of the sink's history may want to know, so that the log alone tells how a
// stream is doing. The marks stand beside it. It holds nothing of any row.
type Epoch struct {
	Job         string `json:"job"`
	RunID       string `json:"run_id"`
	Member      string `json:"member,omitempty"` // host and process
	Rows        int64  `json:"rows"`             // in the results
	Errors      int64  `json:"errors,omitempty"` // of all rows, those with an error
	DeadLetters int64  `json:"dead_letters,omitempty"`
	// Oldest and Newest are when the first and the last of its rows came into being; zero where the source does not know.
	Oldest time.Time `json:"oldest,omitzero"`
	Newest time.Time `json:"newest,omitzero"`
	// Lag is how many rows stood behind the marks, by partition, when that was last looked at.
	Lag map[string]int64 `json:"lag,omitempty"`
}
