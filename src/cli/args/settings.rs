//! Settings as flags: `--walg-s3-prefix URL` as in WAL-G, `--s3-prefix URL` and `-k ID` as in WAL-E.
//!
//! In: argv. Out: argv without them, and their values. Never: touches a flag that the command line has of its own.
//!
//! There are hundreds of such names. They are taken out before clap looks, so that help, completions and the start of
//! every wal-fetch stay free of them.

use crate::cli::config::{Id, Kind, Setting, settings};
use std::ffi::OsString;

/// A flag, its setting, its value.
pub type Given = (Id, String, String);

/// Take settings' flags out of argv. `Err` is a sentence for people.
pub fn take(argv: Vec<OsString>, verbs: &[&str]) -> Result<(Vec<OsString>, Vec<Given>), String> {
    let mut rest = Vec::with_capacity(argv.len());
    let mut given = Vec::new();
    let mut before_verb = true;
    let mut words = argv.into_iter().peekable();
    while let Some(word) = words.next() {
        let Some(text) = word.to_str() else {
            rest.push(word);
            continue;
        };
        if text == "--" {
            rest.push(word);
            rest.extend(words);
            break;
        }
        before_verb &= !verbs.contains(&text);
        let (flag, value) = match text.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (text, None),
        };
        // WAL-E takes this one and does nothing with it.
        if flag == "--gs-access-key-id" {
            if value.is_none() {
                words.next();
            }
            continue;
        }
        let Some(setting) = setting(flag, before_verb) else {
            rest.push(word);
            continue;
        };
        let flag = flag.to_owned();
        let value = match value {
            Some(value) => value,
            None if setting.kind == Kind::Switch => {
                let next = words.peek().and_then(|next| next.to_str()).filter(|next| settings::switch(next).is_some());
                match next.map(str::to_owned) {
                    Some(value) => {
                        words.next();
                        value
                    }
                    None => "true".to_owned(),
                }
            }
            None => {
                let next = words.next().ok_or_else(|| format!("{flag} needs a value: {}", setting.kind.takes()))?;
                next.into_string().map_err(|_| format!("the value of {flag} is not UTF-8 text"))?
            }
        };
        given.push((setting.id, flag, value));
    }
    Ok((rest, given))
}

fn setting(flag: &str, before_verb: bool) -> Option<&'static Setting> {
    let is = |setting: &&Setting| setting.flags().contains(&flag);
    if !flag.starts_with("--") {
        return settings::ALL.iter().find(is).filter(|_| before_verb && flag.len() == 2);
    }
    // Settings of one word (PGDATA) are no flags: verbs may have such of their own.
    let name = flag.strip_prefix("--").filter(|name| name.contains('-') && !name.contains('_'))?;
    Setting::named(&name.replace('-', "_")).or_else(|| settings::ALL.iter().find(is))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Result<(String, String), String> {
        let argv = line.split(' ').map(OsString::from).collect();
        let (rest, given) = take(argv, &["backup-list", "st"])?;
        let rest: Vec<_> = rest.iter().map(|word| word.to_string_lossy()).collect();
        let given: Vec<_> = given.iter().map(|(id, flag, value)| format!("{id:?} {flag} {value}")).collect();
        Ok((rest.join(" "), given.join("; ")))
    }

    #[test]
    fn flags_of_both_originals() {
        let rows = [
            ("w backup-list --detail", "w backup-list --detail", ""),
            ("w --s3-prefix s3://b backup-list", "w backup-list", "WALG_S3_PREFIX --s3-prefix s3://b"),
            ("w backup-list --walg-s3-prefix=s3://b", "w backup-list", "WALG_S3_PREFIX --walg-s3-prefix s3://b"),
            ("w --wale-file-prefix /a st", "w st", "WALG_FILE_PREFIX --wale-file-prefix /a"),
            ("w -k ID --terse st", "w --terse st", "AWS_ACCESS_KEY_ID -k ID"),
            ("w st -k ID", "w st -k ID", ""),
            ("w --aws-access-key-id ID st", "w st", "AWS_ACCESS_KEY_ID --aws-access-key-id ID"),
            ("w --aws-instance-profile st", "w st", "AWS_INSTANCE_PROFILE --aws-instance-profile true"),
            ("w --aws-instance-profile=0 st", "w st", "AWS_INSTANCE_PROFILE --aws-instance-profile 0"),
            ("w --walg-tar-disable-fsync true st", "w st", "WALG_TAR_DISABLE_FSYNC --walg-tar-disable-fsync true"),
            ("w --gs-access-key-id X st", "w st", ""),
            ("w st -- --s3-prefix x", "w st -- --s3-prefix x", ""),
            ("w --pgdata x --prefix y", "w --pgdata x --prefix y", ""),
            ("w --walg_s3_prefix x", "w --walg_s3_prefix x", ""),
        ];
        for (line, rest, given) in rows {
            assert_eq!(split(line), Ok((rest.to_owned(), given.to_owned())), "{line}");
        }
        assert!(split("w st --s3-prefix").is_err());
    }

    #[test]
    fn no_flag_of_a_verb_is_a_settings() {
        fn look(command: &clap::Command) {
            for argument in command.get_arguments() {
                if let Some(long) = argument.get_long() {
                    assert!(setting(&format!("--{long}"), false).is_none(), "--{long} of {}", command.get_name());
                }
            }
            command.get_subcommands().for_each(look);
        }
        let mut command = crate::cli::args::command();
        command.build();
        look(&command);
    }
}
