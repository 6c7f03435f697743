//! What every fence agent of the tests begins with: options on standard input, and what it says of itself. `$action` and
//! `$plug` are set behind it.

const HEAD: &str = r#"action=reboot
plug=
while IFS='=' read -r key value; do
    case $key in
    action) action=$value ;;
    port | plug) plug=$value ;;
    esac
done
if [ "$action" = metadata ]; then
    cat <<'END'
<?xml version="1.0" ?>
<resource-agent name="fence_test" shortdesc="The power switch of the tests">
<parameters>
<parameter name="action" required="1"><content type="string" default="off"/></parameter>
<parameter name="plug" required="1"><content type="string"/></parameter>
</parameters>
<actions><action name="on"/><action name="off"/><action name="reboot"/><action name="status"/><action name="monitor"/><action name="metadata"/><action name="validate-all"/></actions>
</resource-agent>
END
    exit 0
fi
"#;

/// A fence agent whose folder is `power`, a word of the shell, and which does this.
pub(crate) fn script(power: &str, deed: &str) -> String {
    format!("#!/bin/sh\npower={power}\n{HEAD}{deed}")
}
