// Package parquet moves Arrow records in and out of Parquet objects of a store. It reads with Apache Arrow
// and writes with parquet-go, each where it is the better of the two; tables and commits are not its matter.
package parquet
