//! Who owns a container.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The name of the user to whom the directory `dir` belongs, or `#` and the id of one that has none.
pub(crate) fn of(dir: &Path) -> String {
    let uid = fs::metadata(dir).map_or(0, |dir| dir.uid());
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    name(&users, uid).unwrap_or_else(|| format!("#{uid}"))
}

fn name(users: &str, uid: u32) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_user_is_found_by_its_id() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\na:x:1000:1::/:/bin/sh\n";
        assert_eq!(super::name(users, 1000).as_deref(), Some("a"));
        assert_eq!(super::name(users, 0).as_deref(), Some("root"));
        assert_eq!(super::name(users, 1), None);
    }
}
