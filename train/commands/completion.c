/* Completion for bash: tables in the form of functions, and one function that asks them. */
#include "train/commands/help.h"
#include "train/recipe/recipe.h"

#include <ctype.h>
#include <string.h>

static void write_option(void *user, const mla_help_line *line) { fprintf(user, " %s", line->name); }
static void write_key(void *user, const mla_help_line *line) { fprintf(user, " %s=", line->name); }

/* The values of an option or key that has only some. */
static void write_values(void *user, const mla_help_line *line) {
    FILE *out = user;
    const mla_field *field = line->field;
    const bool is_switch = field->type == MLA_FIELD_BOOL;
    if (!is_switch && field->type != MLA_FIELD_ENUM && field->type != MLA_FIELD_KIND) return;
    fprintf(out, "    %s) echo", line->name);
    if (is_switch) fputs(" true false", out);
    for (int i = 0; field->type == MLA_FIELD_ENUM && field->names[i]; i++) fprintf(out, " %s", field->names[i]);
    for (int i = 0; field->type == MLA_FIELD_KIND && field->kinds[i]; i++)
        fprintf(out, " %s", *(const char *const *)field->kinds[i]);
    fputs(" ;;\n", out);
}

static void write_switch(void *user, const mla_help_line *line) {
    if (line->field->type == MLA_FIELD_BOOL) fprintf(user, " %s", line->name);
}

/* The words of its own among the operands: "step|block|decode RECIPE". */
static void write_operands(FILE *out, const mla_command *command) {
    const char *text = command->operands;
    const size_t length = strcspn(text, " ");
    fprintf(out, "    %s) echo", command->name);
    if (islower((unsigned char)*text)) {
        fputc(' ', out);
        for (size_t i = 0; i < length; i++) fputc(text[i] == '|' ? ' ' : text[i], out);
    }
    if (strstr(text, "RECIPE")) fputs(" $(_mla_recipes)", out);
    fputs(" ;;\n", out);
}

static void write_tables(mla_context *context, FILE *out) {
    fputs("# bash completion for mla, made by: mla help --completion\n\n_mla_commands=\"", out);
    for (int i = 0; mla_commands[i]; i++) fprintf(out, "%s ", mla_commands[i]->name);
    fputs("help --help --version\"\n\n_mla_keys=\"", out);
    mla_help_each(context, "", &mla_recipe_fields, write_key, out);
    fputs("\"\n\n_mla_options() {\n    case $1 in\n", out);
    for (int i = 0; mla_commands[i]; i++) {
        fprintf(out, "    %s) echo", mla_commands[i]->name);
        mla_help_each(context, "--", mla_commands[i]->options, write_option, out);
        fputs(" --help ;;\n", out);
    }
    fputs("    esac\n}\n\n_mla_switches() {\n    case $1 in\n", out);
    for (int i = 0; mla_commands[i]; i++) {
        fprintf(out, "    %s) echo", mla_commands[i]->name);
        mla_help_each(context, "--", mla_commands[i]->options, write_switch, out);
        fputs(" --help ;;\n", out);
    }
    fputs("    esac\n}\n\n_mla_operands() {\n    case $1 in\n", out);
    for (int i = 0; mla_commands[i]; i++) write_operands(out, mla_commands[i]);
    fputs("    esac\n}\n\n# of an option, as \"COMMAND --option\", or of a key\n_mla_values() {\n    case $1 in\n",
          out);
    mla_help_each(context, "", &mla_recipe_fields, write_values, out);
    for (int i = 0; mla_commands[i]; i++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "%s\\ --", mla_commands[i]->name);
        mla_help_each(context, prefix, mla_commands[i]->options, write_values, out);
    }
    fputs("    esac\n}\n", out);
}

static const char functions[] =
    "\n"
    "# The recipes that came with this mla.\n"
    "_mla_recipes() {\n"
    "    local program file\n"
    "    program=$(type -P mla) || return\n"
    "    for file in \"${program%/*}\"/../share/mla/recipes/*.yaml \"${program%/*}\"/../train/recipes/*.yaml; do\n"
    "        [ -e \"$file\" ] && file=${file##*/} && echo \"${file%.yaml}\"\n"
    "    done\n"
    "}\n"
    "\n"
    "# _mla_files WORD: files and folders that begin so.\n"
    "_mla_files() {\n"
    "    compopt -o filenames 2>/dev/null\n"
    "    while IFS= read -r file; do COMPREPLY+=(\"$file\"); done < <(compgen -f -- \"$1\")\n"
    "}\n"
    "\n"
    "# = ends a word of bash's: \"--set optim.lr=3\" comes as \"--set\" \"optim.lr\" \"=\" \"3\", \"--out=a\" as three words.\n"
    "_mla() {\n"
    "    local word=$2 command=${COMP_WORDS[1]} before=${COMP_WORDS[COMP_CWORD - 1]} name file\n"
    "    local earlier=${COMP_WORDS[COMP_CWORD > 2 ? COMP_CWORD - 2 : 0]}\n"
    "    COMPREPLY=()\n"
    "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
    "        COMPREPLY=($(compgen -W \"$_mla_commands\" -- \"$word\"))\n"
    "        return\n"
    "    fi\n"
    "    if [ \"$command\" = help ]; then\n"
    "        COMPREPLY=($(compgen -W \"${_mla_commands%%help*}recipe\" -- \"$word\"))\n"
    "        return\n"
    "    fi\n"
    "    name=$before\n"
    "    if [ \"${COMP_WORDS[COMP_CWORD]}\" = = ]; then name=$before word=; before='='\n"
    "    elif [ \"$before\" = = ]; then name=$earlier; fi\n"
    "    if [ \"$name\" = --set ]; then\n"
    "        compopt -o nospace 2>/dev/null\n"
    "        COMPREPLY=($(compgen -W \"$_mla_keys\" -- \"$word\"))\n"
    "    elif [ \"$before\" = = ] && [ \"${name#--}\" = \"$name\" ]; then\n"
    "        COMPREPLY=($(compgen -W \"$(_mla_values \"$name\")\" -- \"$word\"))\n"
    "        [ ${#COMPREPLY[@]} -gt 0 ] || _mla_files \"$word\"\n"
    "    elif [ \"${word#-}\" != \"$word\" ]; then\n"
    "        COMPREPLY=($(compgen -W \"$(_mla_options \"$command\")\" -- \"$word\"))\n"
    "    elif [ \"$before\" = = ] || { [ \"${name#--}\" != \"$name\" ] && [[ \" $(_mla_switches \"$command\") \" != *\" $name \"* ]]; }; then\n"
    "        COMPREPLY=($(compgen -W \"$(_mla_values \"$command $name\")\" -- \"$word\"))\n"
    "        [ ${#COMPREPLY[@]} -gt 0 ] || _mla_files \"$word\"\n"
    "    else\n"
    "        COMPREPLY=($(compgen -W \"$(_mla_operands \"$command\")\" -- \"$word\"))\n"
    "        _mla_files \"$word\"\n"
    "    fi\n"
    "}\n"
    "complete -F _mla mla\n";

void mla_help_completion(mla_context *context, FILE *out) {
    write_tables(context, out);
    fputs(functions, out);
}
