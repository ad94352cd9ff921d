//! iptables and ip6tables: reading chains, and changing a table in one transaction, which
//! iptables-restore carries out whole or not at all.

use std::thread::sleep;
use std::time::Duration;

use cni::error::{Code, Error};
use cni::quoted::Quoted;
use linux::family::Family;

use super::program::{ProgramError, Programs};

/// How often a transaction is planned anew if another process has changed the table meanwhile.
const TRIES: u32 = 8;
const PAUSE: Duration = Duration::from_millis(5);

/// The most bytes of a chain's name.
const LONGEST_NAME: usize = 28;

/// The tables of one family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IpTables<'p> {
    programs: &'p Programs<'p>,
    /// The family.
    pub(crate) family: Family,
}

/// A chain as the kernel shows it: its rules, each `-A <chain> …` as iptables prints it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Chain {
    /// Whether it is there.
    pub(crate) exists: bool,
    /// Its rules, in order.
    pub(crate) rules: Vec<String>,
}

impl Chain {
    /// The rules that jump to a chain.
    pub(crate) fn jumps_to<'r>(&'r self, chain: &str) -> impl Iterator<Item = &'r String> {
        let end = format!(" -j {chain}");
        self.rules.iter().filter(move |rule| rule.ends_with(&end))
    }

    /// Whether one of its rules names an address, as iptables prints it.
    pub(crate) fn names(&self, address: &str) -> bool {
        let word = format!(" {address} ");
        self.rules.iter().any(|rule| rule.contains(&word))
    }

    /// Whether it has the rule, in the words in which iptables prints it.
    pub(crate) fn shows(&self, rule: &Rule) -> bool {
        let text = rule.to_string();
        self.rules.iter().any(|shown| *shown == format!("-A {text}"))
    }
}

/// A rule: its chain, and its words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Rule(Vec<String>);

impl Rule {
    /// The rule of these words in a chain.
    pub(crate) fn new<'w>(chain: &'w str, words: impl IntoIterator<Item = &'w str>) -> Self {
        Self([chain].into_iter().chain(words).map(str::to_owned).collect())
    }

    /// Its chain.
    pub(crate) fn chain(&self) -> &str {
        self.0.first().map(String::as_str).unwrap_or_default()
    }

    fn target(&self) -> Option<&str> {
        let mut words = self.0.iter().skip_while(|word| *word != "-j");
        words.nth(1).map(String::as_str)
    }

    /// The line that appends it.
    pub(crate) fn append(&self) -> String {
        format!("-A {self}")
    }

    /// The line that puts it first.
    pub(crate) fn insert(&self) -> String {
        match self.0.split_first() {
            Some((chain, words)) => format!("-I {chain} 1 {}", line(words)),
            None => String::new(),
        }
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&line(&self.0))
    }
}

fn line(words: &[String]) -> String {
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

/// A word as iptables-restore reads it, and iptables-save prints it.
fn quote(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    let mut quoted = String::from('"');
    // A control character would end the line: no caller lets one through.
    for character in word.chars().filter(|character| !character.is_control()) {
        if matches!(character, '"' | '\\' | '\'') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

/// The line that deletes a rule, from how iptables prints it.
pub(crate) fn delete(shown: &str) -> String {
    shown.replacen("-A ", "-D ", 1)
}

/// The lines that delete a chain of an attachment.
pub(crate) fn delete_chain(chain: &str) -> [String; 2] {
    [format!("-F {chain}"), format!("-X {chain}")]
}

/// Checks the name of a chain that the configuration has at `key`: code 7 for one that iptables
/// would refuse, or take for something else.
pub(crate) fn check_chain_name(key: &str, name: &str) -> Result<(), Error> {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:+".contains(&byte);
    let begins = name.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_');
    if begins && name.len() <= LONGEST_NAME && name.bytes().all(is_fit) {
        return Ok(());
    }
    let problem = format!(
        "\"{key}\" must be a chain's name of 1 to {LONGEST_NAME} letters, digits, \"-\", \"_\", \
         \".\", \":\" and \"+\", not {}",
        Quoted::text(name)
    );
    Err(Error::new(Code::CONFIG, problem))
}

/// The line that makes a chain.
pub(crate) fn create_chain(chain: &str) -> String {
    format!("-N {chain}")
}

impl<'p> IpTables<'p> {
    /// The tables of a family.
    pub(crate) fn new(programs: &'p Programs<'p>, family: Family) -> Self {
        Self { programs, family }
    }

    fn list_program(self) -> &'static str {
        match self.family {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        }
    }

    fn restore_program(self) -> &'static str {
        match self.family {
            Family::V4 => "iptables-restore",
            Family::V6 => "ip6tables-restore",
        }
    }

    /// Whether it works here: a kernel may lack what it needs.
    pub(crate) fn probe(self) -> Result<(), ProgramError> {
        let arguments = ["-w", "-t", "filter", "-S", "INPUT", "1"];
        match self.programs.run(self.list_program(), &arguments, "") {
            Err(error) if error.has_status(1) => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// A chain; one without rules if it is missing.
    pub(crate) fn chain(self, table: &str, chain: &str) -> Result<Chain, ProgramError> {
        let arguments = ["-w", "-t", table, "-S", chain];
        let printed = match self.programs.run(self.list_program(), &arguments, "") {
            Err(error) if error.has_status(1) => return Ok(Chain::default()),
            outcome => outcome?,
        };
        let text = String::from_utf8_lossy(&printed);
        let rules = text.lines().filter(|line| line.starts_with("-A ")).map(str::to_owned);
        Ok(Chain { exists: true, rules: rules.collect() })
    }

    /// The same, and one without rules if the family cannot be used at all: its program is not
    /// installed, or the kernel has no such table (status 3).
    pub(crate) fn chain_if_usable(self, table: &str, chain: &str) -> Result<Chain, ProgramError> {
        match self.chain(table, chain) {
            Err(error) if error.is_missing() || error.has_status(3) => Ok(Chain::default()),
            outcome => outcome,
        }
    }

    /// Whether a chain has the rule: in the words in which it is printed, or as the program itself
    /// finds.
    pub(crate) fn has(self, table: &str, chain: &Chain, rule: &Rule) -> Result<bool, ProgramError> {
        // Without a rule of the same target there is no need to ask.
        let target = rule.target().map(|target| format!(" -j {target}"));
        if !target.is_some_and(|target| chain.rules.iter().any(|shown| shown.contains(&target))) {
            return Ok(false);
        }
        if chain.shows(rule) {
            return Ok(true);
        }
        let words = ["-w", "-t", table, "-C"].into_iter().chain(rule.0.iter().map(String::as_str));
        match self.programs.run(self.list_program(), &words.collect::<Vec<_>>(), "") {
            Err(error) if error.has_status(1) || error.has_status(2) => Ok(false),
            outcome => outcome.map(|_| true),
        }
    }

    /// [`Self::transact`] in the table of each family.
    pub(crate) fn transact_in_each(
        programs: &'p Programs<'p>,
        families: &[Family],
        table: &str,
        plan: impl Fn(Self) -> Result<Vec<String>, ProgramError>,
    ) -> Result<(), ProgramError> {
        let mut each = families.iter().map(|family| Self::new(programs, *family));
        each.try_for_each(|tables| tables.transact(table, &plan))
    }

    /// Carries out the lines that `plan` makes of what it reads, all or none. It plans anew if
    /// another process has changed the table between reading and writing.
    pub(crate) fn transact(
        self,
        table: &str,
        plan: impl Fn(Self) -> Result<Vec<String>, ProgramError>,
    ) -> Result<(), ProgramError> {
        let mut lines = plan(self)?;
        for attempt in 0..TRIES {
            if lines.is_empty() {
                return Ok(());
            }
            let error = match self.apply(table, &lines) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if !error.has_failed() {
                return Err(error);
            }
            sleep(PAUSE * attempt);
            let again = plan(self)?;
            if again == lines && attempt > 1 {
                return Err(error);
            }
            lines = again;
        }
        self.apply(table, &lines)
    }

    fn apply(self, table: &str, lines: &[String]) -> Result<(), ProgramError> {
        let input = format!("*{table}\n{}\nCOMMIT\n", lines.join("\n"));
        self.programs.run(self.restore_program(), &["-w", "--noflush"], &input).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_they_are_printed() {
        let rule = Rule::new("C", ["-m", "comment", "--comment", "name: \"a\" \\", "-j", "X"]);
        assert_eq!(rule.append(), r#"-A C -m comment --comment "name: \"a\" \\" -j X"#);
        assert_eq!(rule.insert(), r#"-I C 1 -m comment --comment "name: \"a\" \\" -j X"#);
        assert_eq!(Rule::new("C", ["a\nCOMMIT\n*nat", ""]).append(), r#"-A C "aCOMMIT*nat" """#);
    }

    #[test]
    fn jumps_are_told_by_the_whole_name() {
        let rules = ["-A P -s 10.0.0.1/32 -j CNI-1", "-A P -j CNI-12", "-A P -j XCNI-1"];
        let chain = Chain { exists: true, rules: rules.map(str::to_owned).to_vec() };
        assert_eq!(chain.jumps_to("CNI-1").collect::<Vec<_>>(), [rules[0]]);
        assert_eq!(delete(rules[0]), "-D P -s 10.0.0.1/32 -j CNI-1");
    }
}
