//! Manual pages in man(7): sections, paragraphs, lists and examples, with every character as it is meant.
//! It refuses to know what a page says.

/// Words are kept whole, for many are to be typed, and lines are not stretched.
const PLAIN: &str = ".nh\n.ad l\n";

/// A page that is being written.
pub struct Page(String);

/// What stands for itself on a page, and nothing else.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\\' => out += "\\e",
            '-' => out += "\\-",
            '\'' => out += "\\(aq",
            '^' => out += "\\(ha",
            '~' => out += "\\(ti",
            '`' => out += "\\(ga",
            c => out.push(c),
        }
    }
    // A dot that begins a line would be a request.
    if out.starts_with('.') { format!("\\&{out}") } else { out }
}

/// The same, with what stands between backticks in bold.
fn marked(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let parts = parts.map(|(place, part)| match place % 2 {
        _ if part.is_empty() => String::new(),
        0 => escaped(part),
        _ => format!("\\fB{}\\fR", escaped(part)),
    });
    parts.collect()
}

impl Page {
    pub fn new(name: &str, section: u8, about: &str) -> Self {
        let (version, title) = (env!("CARGO_PKG_VERSION"), name.to_uppercase());
        let mut page = Self(format!(".TH {} {section} \"\" \"qrm {version}\"\n{PLAIN}", escaped(&title)));
        page.section("NAME");
        page.0 += &format!("{} \\- {}\n", escaped(name), escaped(about));
        page
    }

    /// One whose beginning is made already.
    pub fn of(text: String) -> Self {
        Self(text.replacen(".SH", &format!("{PLAIN}.SH"), 1))
    }

    pub fn section(&mut self, title: &str) {
        self.0 += &format!(".SH {}\n", quoted(title));
    }

    pub fn part(&mut self, title: &str) {
        self.0 += &format!(".SS {}\n", quoted(title));
    }

    pub fn text(&mut self, text: &str) {
        self.0 += &format!(".PP\n{}\n", marked(text));
    }

    /// A term, in bold, with what it is beside it, and what that means.
    pub fn item(&mut self, term: &str, beside: &str, text: &str) {
        let beside = if beside.is_empty() { String::new() } else { format!(" ({})", marked(beside)) };
        self.0 += &format!(".TP\n\\fB{}\\fR{beside}\n{}\n", escaped(term), marked(text));
    }

    /// Lines as they are.
    pub fn example(&mut self, text: &str) {
        self.0 += ".PP\n.RS 2\n.nf\n";
        for line in text.lines() {
            self.0 += &escaped(line);
            self.0.push('\n');
        }
        self.0 += ".fi\n.RE\n";
    }

    pub fn see_also(&mut self, pages: &[&str]) {
        self.section("SEE ALSO");
        let page = |page: &&str| {
            let (name, section) = page.split_once('(').unwrap_or((page, ""));
            format!("\\fB{}\\fR({section}", escaped(name))
        };
        self.0 += &pages.iter().map(page).collect::<Vec<_>>().join(",\n");
        self.0.push('\n');
    }

    pub fn done(self) -> String {
        self.0
    }
}

fn quoted(title: &str) -> String {
    format!("\"{}\"", escaped(title))
}
