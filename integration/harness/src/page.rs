//! What the pages of the documentation tell a user to type, and to write into files: word for word, so that who walks
//! a page notices when it no longer says so.

use crate::checkout;
use anyhow::{Context as _, Result, anyhow, bail};

/// A page.
#[derive(Debug)]
pub struct Page {
    path: String,
    text: String,
}

impl Page {
    /// The page at this path of the repository.
    pub fn read(path: &str) -> Result<Self> {
        let text = std::fs::read_to_string(checkout().join(path)).with_context(|| path.to_owned())?;
        Ok(Self { path: path.to_owned(), text })
    }

    /// The one indented block below a heading that begins so.
    pub fn block(&self, heading: &str, beginning: &str) -> Result<String> {
        let blocks = self.blocks(heading)?;
        let mut found = blocks.into_iter().filter(|block| block.starts_with(beginning));
        match (found.next(), found.next()) {
            (Some(block), None) => Ok(block),
            (one, _) => {
                let how_many = if one.is_some() { "several blocks" } else { "no block" };
                bail!("{}: {how_many} below {heading:?} beginning with {beginning:?}", self.path)
            }
        }
    }

    /// The commands of that block: a line each, those that a backslash continues joined.
    pub fn commands(&self, heading: &str, beginning: &str) -> Result<Vec<String>> {
        Ok(commands(&self.block(heading, beginning)?))
    }

    /// All commands that there are, each with its heading.
    pub fn all_commands(&self) -> Vec<(String, String)> {
        let headings = self.text.lines().filter(|line| line.starts_with('#'));
        let headings = headings.map(|line| line.trim_start_matches('#').trim());
        let of = |heading: &str| {
            let blocks = self.blocks(heading).unwrap_or_default();
            let all = blocks.iter().flat_map(|block| commands(block));
            all.map(|command| (heading.to_owned(), command)).collect::<Vec<_>>()
        };
        headings.flat_map(of).collect()
    }

    /// The same of a block that is one command.
    pub fn command(&self, heading: &str, beginning: &str) -> Result<String> {
        let commands = self.commands(heading, beginning)?;
        <[String; 1]>::try_from(commands)
            .map(|[one]| one)
            .map_err(|all| anyhow!("{}: not one command: {all:#?}", self.path))
    }

    /// The indented blocks between a heading and the next one.
    fn blocks(&self, heading: &str) -> Result<Vec<String>> {
        let mut lines = self.text.lines();
        lines
            .find(|line| line.starts_with('#') && line.trim_start_matches('#').trim() == heading)
            .with_context(|| format!("{}: no heading {heading:?}", self.path))?;
        let (mut blocks, mut goes_on) = (Vec::<String>::new(), false);
        for line in lines.take_while(|line| !line.starts_with('#')) {
            let code = line.strip_prefix("    ");
            if let Some(code) = code {
                if !goes_on {
                    blocks.push(String::new());
                }
                if let Some(block) = blocks.last_mut() {
                    *block += &format!("{code}\n");
                }
            }
            goes_on = code.is_some();
        }
        Ok(blocks)
    }
}

/// A line each, those that a backslash continues joined.
fn commands(block: &str) -> Vec<String> {
    block.replace("\\\n", " ").lines().map(str::to_owned).collect()
}
