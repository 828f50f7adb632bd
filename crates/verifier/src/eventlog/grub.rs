//! GRUB's commands, as it measures them into PCR 8 before it runs each: which of them leave the kernel and its command line
//! as they were given.
//!
//! GRUB's script engine measures every line that it executes, expanded, calls of functions and assignments among them
//! (`grub_script_execute_cmdline`). What a line does beyond that, a module or a file that it reads, is not in this register.

/// What a measured line does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Command<'a> {
    /// Loads a kernel with these words: its file and its command line.
    Linux(&'a str),
    /// Neither loads something else nor alters what was loaded.
    Beside,
    /// Anything else, known or not.
    Other,
}

/// Commands and customary functions of distributions' configurations that load no kernel, write no memory, replace no
/// firmware table and hand control to nothing but what the next lines say. `insmod` is looked at by itself.
const BESIDE: &[&str] = &[
    ".",
    "[",
    "background_color",
    "background_image",
    "blscfg",
    "boot",
    "break",
    "cat",
    "clear",
    "configfile",
    "continue",
    "cryptomount",
    "echo",
    "export",
    "false",
    "fwsetup",
    "gettext",
    "gfxmode",
    "gptpriority",
    "halt",
    "increment",
    "initrd",
    "initrdefi",
    "initrdfail",
    "keystatus",
    "load_env",
    "load_video",
    "loadfont",
    "loopback",
    "ls",
    "menuentry",
    "normal",
    "password",
    "password_pbkdf2",
    "play",
    "probe",
    "read",
    "reboot",
    "recordfail",
    "regexp",
    "return",
    "save_env",
    "savedefault",
    "search",
    "search.file",
    "search.fs_label",
    "search.fs_uuid",
    "serial",
    "set",
    "setparams",
    "shift",
    "sleep",
    "smbios",
    "source",
    "submenu",
    "terminal_input",
    "terminal_output",
    "test",
    "true",
    "unset",
];

impl<'a> Command<'a> {
    pub(super) fn of(line: &'a str) -> Self {
        // A negation runs the command all the same.
        let line = line.strip_prefix("! ").unwrap_or(line);
        let (command, arguments) = line.split_once(' ').unwrap_or((line, ""));
        match command {
            "linux" | "linuxefi" => Self::Linux(arguments),
            // From where GRUB has its modules, by a plain name.
            "insmod" if is_word(arguments.trim_end()) => Self::Beside,
            _ if BESIDE.contains(&command) || is_assignment(command) => Self::Beside,
            _ => Self::Other,
        }
    }
}

/// `name=value`, which is run as a command of that name first; no command has such a one.
fn is_assignment(command: &str) -> bool {
    command
        .split_once('=')
        .is_some_and(|(name, _)| is_word(name) && !name.starts_with(|first: char| first.is_numeric()))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_configuration_loads_one_kernel_and_does_nothing_beside_that_counts() {
        for line in [
            "search.fs_uuid 94f07b36 root",
            "set prefix=(hd0,gpt16)/grub",
            "[ -s (hd0,gpt16)/grub/grubenv ]",
            "menuentry_id_option=--id",
            "defaultA=2",
            "menuentry Linux --class os {\n\tlinux /vmlinuz\n}",
            "insmod part_gpt",
            "insmod ext2 ",
            "! [ -f /x ]",
            "load_env",
        ] {
            assert_eq!(Command::of(line), Command::Beside, "{line}");
        }
        assert_eq!(Command::of("linux /vmlinuz quiet"), Command::Linux("/vmlinuz quiet"));
        assert_eq!(Command::of("! linux /vmlinuz"), Command::Linux("/vmlinuz"));
    }

    #[test]
    fn whatever_loads_or_alters_something_else_is_told_apart() {
        for line in [
            "xnu_kernel64 /evil",
            "xen_hypervisor /evil.efi",
            "write_dword 0x90800 0x3d74696e",
            "acpi /evil.aml",
            "devicetree /evil.dtb",
            "chainloader /evil.efi",
            "! chainloader /evil.efi",
            "! ! linux /evil",
            "linux16 /evil",
            "kexec /evil",
            "insmod (hd0,gpt1)/evil.mod",
            "insmod /evil.mod",
            "insmod",
            "insmod a b",
            // A kernel's line, told as if it were a command.
            "/vmlinuz init=/bin/sh",
            "(hd0,gpt1)/vmlinuz a=b",
            "0+2000 init=/bin/sh",
            "0+1=2",
            "somebodys_function",
            "",
        ] {
            assert_eq!(Command::of(line), Command::Other, "{line}");
        }
    }
}
