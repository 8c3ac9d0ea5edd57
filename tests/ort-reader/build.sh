#!/bin/sh
# Builds the reader into the folder $1: libraries in lib/, classes in classes/. Does nothing if that was done from the same sources.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
target=$1
sources=$(find "$here" -type f | sort | xargs cat | sha256sum)
[ "$sources" = "$(cat "$target/sources" 2>/dev/null)" ] && exit 0

rm -rf "$target"
mkdir -p "$target"
copy() {
    mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope="$1" -DoutputDirectory="$2"
}
copy runtime "$target/lib"
copy provided "$target/compiler"
# The compiler runs on the standard library too, which is a dependency of the reader and not copied as one of the compiler.
plugin=$(find "$target/compiler" -name 'kotlin-serialization-compiler-plugin-embeddable-*.jar')
java -cp "$target/compiler/*:$target/lib/*" org.jetbrains.kotlin.cli.jvm.K2JVMCompiler \
    -no-stdlib -no-reflect -nowarn -jvm-target 17 "-Xplugin=$plugin" \
    -classpath "$(find "$target/lib" -name '*.jar' | tr '\n' ':')" -d "$target/classes" "$here/src"
printf '%s' "$sources" >"$target/sources"
