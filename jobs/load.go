package jobs

import (
	"context"
	"errors"

	"github.com/inflowhq/inflow/connectors/delta"
	"github.com/inflowhq/inflow/connectors/files"
	"github.com/inflowhq/inflow/connectors/store"
)

// LoadFiles copies the rows of the files in dir that match pattern into the Delta table in folder, each once however
// often it is called: the table remembers how far it has come.
func LoadFiles(ctx context.Context, dir, pattern, folder string) (err error) {
	source, err := files.NewSource(ctx, files.SourceOptions{
		Store: store.NewLocal(dir), Patterns: []string{pattern}, BatchRows: maxBatch,
	})
	if err != nil {
		return err
	}
	table, err := openDelta(ctx, folder, folder, delta.SinkOptions{
		Prefix: "load/" + shard + "/", Schema: source.Schema(), NoStatistics: textColumns(source.Schema()),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, table.Close(context.WithoutCancel(ctx))) }()
	from, err := table.Marks(ctx)
	if err != nil {
		return err
	}
	to := from
	for batch, err := range source.Read(ctx, from) {
		if err != nil {
			return err
		}
		to = batch.Marks
		err := table.Write(ctx, batch.Record)
		batch.Record.Release()
		if err != nil {
			return err
		}
	}
	if to.Equal(from) {
		return nil
	}
	commit, err := table.Seal(ctx)
	if err != nil {
		return err
	}
	return commit(ctx, from, to, nil)
}
