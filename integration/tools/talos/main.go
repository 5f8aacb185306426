// Judges an extension by Talos' own code, and merges parts of the CRI configuration by it:
//
//	talos check FOLDER VERSION   the extension in FOLDER, on Talos VERSION
//	talos merge FOLDER           prints /etc/cri/conf.d/*.part of FOLDER as one file
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/blang/semver/v4"
	"github.com/pelletier/go-toml/v2"
	"github.com/siderolabs/talos/pkg/machinery/config/merge"
	"github.com/siderolabs/talos/pkg/machinery/extensions"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	switch {
	case len(arguments) == 3 && arguments[0] == "check":
		return check(arguments[1], arguments[2])
	case len(arguments) == 2 && arguments[0] == "merge":
		return mergeParts(arguments[1])
	}
	return fmt.Errorf("usage: talos check FOLDER VERSION | talos merge FOLDER")
}

func check(folder, version string) error {
	running, err := semver.ParseTolerant(version)
	if err != nil {
		return err
	}
	extension, err := extensions.Load(folder)
	if err != nil {
		return err
	}
	return extension.Validate(
		extensions.WithValidateConstraints(), extensions.WithValidateContents(), extensions.WithTalosVersion(&running),
	)
}

// mergeParts does what Talos' CRIConfigController does with the parts, whose own package is internal: in order of their
// names, tables are merged key by key, and the later part wins.
func mergeParts(folder string) error {
	files, err := filepath.Glob(filepath.Join(folder, "*.part"))
	if err != nil {
		return err
	}
	merged := map[string]any{}
	for _, file := range slices.Sorted(slices.Values(files)) {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		part := map[string]any{}
		if err := toml.Unmarshal(text, &part); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := merge.Merge(merged, part); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return toml.NewEncoder(os.Stdout).SetIndentTables(true).Encode(merged)
}
