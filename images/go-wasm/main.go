// A Wasm program in Go, WASI preview 1: it says what it finds around it.
//
//	go-wasm                 the arguments, the working directory and the files in it
//	go-wasm write FILE TEXT writes a file
//	go-wasm exit CODE       ends with this code
//	go-wasm panic           ends as a Go program that panics does, with code 2
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
)

func main() {
	args := os.Args[1:]
	switch {
	case len(args) == 3 && args[0] == "write":
		check(os.WriteFile(args[1], []byte(args[2]+"\n"), 0o644))
	case len(args) == 2 && args[0] == "exit":
		code, err := strconv.Atoi(args[1])
		check(err)
		os.Exit(code)
	case len(args) == 1 && args[0] == "panic":
		panic("as asked")
	default:
		look(args)
	}
}

func look(args []string) {
	fmt.Printf("hello from Go on %s/%s\n", runtime.GOOS, runtime.GOARCH)
	fmt.Printf("arguments: %q\n", args)
	cwd, err := os.Getwd()
	check(err)
	fmt.Println("working directory:", cwd)
	entries, err := os.ReadDir(".")
	check(err)
	for _, entry := range entries {
		fmt.Println("file:", entry.Name())
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
