//! What the pages say was measured is what a file in hack/results holds: hack/results/figures.tsv says where.

use std::path::{Path, PathBuf};

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(checkout().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// One figure of a page.
struct Figure {
    page: String,
    row: String,
    figure: String,
    file: String,
    line: String,
    value: String,
}

fn figures() -> Vec<Figure> {
    let table = read("hack/results/figures.tsv");
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    let figure = |line: &str| {
        let fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
        let [page, row, figure, file, line, value] = fields.try_into().unwrap_or_else(|_| panic!("{line}"));
        Figure { page, row, figure, file, line, value }
    };
    lines.map(figure).collect()
}

/// The numbers in a text, as they are written.
fn numbers(text: &str) -> Vec<&str> {
    let words = text.split(|letter: char| !letter.is_ascii_digit() && letter != '.');
    words.map(|word| word.trim_matches('.')).filter(|word| !word.is_empty()).collect()
}

/// Whether this is what is left of a value with fewer digits.
fn is_rounded(figure: &str, value: &str) -> bool {
    let digits = figure.split_once('.').map_or(0, |(_, digits)| digits.len());
    let (Ok(figure), Ok(value)) = (figure.parse::<f64>(), value.parse::<f64>()) else { return false };
    (figure - value).abs() <= 0.5 / 10_f64.powi(i32::try_from(digits).unwrap_or(0)) + 1e-9
}

#[test]
fn each_figure_is_what_its_result_holds() {
    for Figure { page, row, figure, file, line, value } in figures() {
        let text = read(&page);
        let there = text.lines().any(|line| line.contains(&row) && numbers(line).contains(&figure.as_str()));
        assert!(there, "{page} has no {figure} in a line with {row:?}");
        let result = read(&format!("hack/results/{file}"));
        if line == "*" {
            let count = result.lines().filter(|line| line.contains(&value)).count();
            assert_eq!(count.to_string(), figure, "{page}, {row}: lines of {file} with {value:?}");
            continue;
        }
        let number: usize = line.parse().unwrap();
        let held = result.lines().nth(number - 1).unwrap_or_default();
        assert!(numbers(held).contains(&value.as_str()), "{file}:{number} has no {value}: {held}");
        assert!(is_rounded(&figure, &value), "{page}, {row}: {figure} is not {value} of {file}:{number}");
    }
}

#[test]
fn each_figure_on_the_front_page_has_its_result() {
    let readme = read("README.md");
    let (_, rest) = readme.split_once("\n## Figures\n").unwrap();
    let (section, _) = rest.split_once("\n## ").unwrap();
    let known = figures();
    let rows = section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---")).skip(1);
    let mut count = 0;
    for line in rows {
        for number in numbers(line) {
            let of_it =
                |one: &&Figure| one.page == "README.md" && line.contains(&one.row) && one.figure == number;
            assert!(known.iter().any(|one| of_it(&one)), "README.md: where does {number} stand? {line}");
            count += 1;
        }
    }
    assert!(count >= 15, "only {count} figures were found");
}

/// Every cell that gVisor's shim does not end is one that ends under the guard.
#[test]
fn all_that_did_not_end_unguarded_ends() {
    let matrix = read("hack/results/matrix-2026-11-27.md");
    let wedged: Vec<&str> = matrix.lines().filter(|line| line.contains("| wedged after ")).collect();
    let with_defaults = wedged.iter().filter(|line| line.contains("default deadlines")).count();
    let unguarded = read("hack/results/matrix-unguarded.tsv");
    let count = unguarded.lines().filter(|line| line.contains("\twedged after ")).count();
    assert_eq!(wedged.len() - with_defaults, count);
    assert!(wedged.iter().all(|line| !line.contains("RED") && !line.contains("not after")));
}
