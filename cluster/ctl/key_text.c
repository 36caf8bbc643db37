/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/ctl/key_text.h"

#include <time.h>
#include "cluster/base/codec.h"

#define NS_PER_S 1000000000u

void escape_bytes(GString *s, struct bytes b)
{
    for (size_t i = 0; i < b.n; i++) {
        if (b.p[i] == '\\')
            g_string_append(s, "\\\\");
        else if (g_ascii_isgraph(b.p[i]))
            g_string_append_c(s, (char)b.p[i]);
        else
            g_string_append_printf(s, "\\x%02x", b.p[i]);
    }
}

void escape_key(GString *s, struct bytes key)
{
    if (key.n < 2) {
        escape_bytes(s, key);
        return;
    }
    g_string_append_printf(s, "%u:", get_be16(key.p));
    escape_bytes(s, bytes_of(key.p + 2, key.n - 2));
}

bool unescape_bytes(const char *text, GByteArray *out)
{
    for (const char *p = text; *p; p++) {
        uint8_t c = (uint8_t)*p;
        if (c == '\\' && p[1] == '\\') {
            p++;
        } else if (c == '\\') {
            int hi = p[1] == 'x' ? g_ascii_xdigit_value(p[2]) : -1;
            int lo = hi >= 0 ? g_ascii_xdigit_value(p[3]) : -1;
            if (lo < 0)
                return false;
            c = (uint8_t)(hi << 4 | lo);
            p += 3;
        }
        g_byte_array_append(out, &c, 1);
    }
    return true;
}

void append_time(GString *s, uint64_t ns)
{
    time_t seconds = (time_t)(ns / NS_PER_S);
    struct tm tm;
    char text[40];
    if (!gmtime_r(&seconds, &tm) || strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        g_strlcpy(text, "?", sizeof(text));
    g_string_append_printf(s, "%s.%09uZ", text, (unsigned)(ns % NS_PER_S));
}
