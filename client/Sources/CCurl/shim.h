// curl_easy_setopt and curl_easy_getinfo are variadic, which Swift does not import.
#pragma once
#include <curl/curl.h>

typedef size_t (*mljob_write)(char *, size_t, size_t, void *);
typedef int (*mljob_progress)(void *, curl_off_t, curl_off_t, curl_off_t, curl_off_t);

static inline CURLcode mljob_set_string(CURL *curl, CURLoption option, const char *value) {
    return curl_easy_setopt(curl, option, value);
}
static inline CURLcode mljob_set_long(CURL *curl, CURLoption option, long value) {
    return curl_easy_setopt(curl, option, value);
}
static inline CURLcode mljob_set_pointer(CURL *curl, CURLoption option, void *value) {
    return curl_easy_setopt(curl, option, value);
}
static inline CURLcode mljob_set_list(CURL *curl, CURLoption option, struct curl_slist *value) {
    return curl_easy_setopt(curl, option, value);
}
static inline CURLcode mljob_set_write(CURL *curl, CURLoption option, mljob_write value) {
    return curl_easy_setopt(curl, option, value);
}
static inline CURLcode mljob_set_progress(CURL *curl, mljob_progress value) {
    return curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, value);
}
// The bytes are copied.
static inline CURLcode mljob_set_blob(CURL *curl, CURLoption option, const void *bytes, size_t count) {
    struct curl_blob blob = {(void *)bytes, count, CURL_BLOB_COPY};
    return curl_easy_setopt(curl, option, &blob);
}
static inline CURLcode mljob_set_body(CURL *curl, const void *bytes, curl_off_t count) {
    CURLcode code = curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, count);
    return code ? code : curl_easy_setopt(curl, CURLOPT_COPYPOSTFIELDS, bytes);
}
static inline CURLcode mljob_get_certificates(CURL *curl, struct curl_certinfo **value) {
    return curl_easy_getinfo(curl, CURLINFO_CERTINFO, value);
}
static inline CURLcode mljob_get_connects(CURL *curl, long *value) {
    return curl_easy_getinfo(curl, CURLINFO_NUM_CONNECTS, value);
}
