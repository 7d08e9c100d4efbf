"""Chat templates in the manner of well-known models, each with something that others have not."""

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

TRIMMING = """\
{{- bos_token }}
{%- set loop_messages = messages %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set loop_messages = messages[1:] %}
{%- endif %}
{%- for message in loop_messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Conversation roles must alternate user/assistant') }}
    {%- endif %}
    {%- if loop.first and system_message is defined %}
        {{- '<<SYS>>' + system_message + '<</SYS>>' }}
    {%- endif %}
    {{- '[' + message['role'] + '] ' + (message['content'] | trim) + eos_token }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '[assistant] ' }}{%- endif %}
"""

TOOLS = """\
{%- macro describe(tool, depth=0) %}
    {{- '  ' * depth + tool.function.name }}: {{ tool.function.parameters | tojson(indent=2) }}
{%- endmacro %}
{%- set state = namespace(users=0) %}
{%- if tools is not none %}
{%- for tool in tools %}
{{ describe(tool) }}
{{ tool | tojson }}
{%- endfor %}
{%- endif %}
{%- if documents %}{% for document in documents %}[{{ document.title }}]{% endfor %}{% endif %}
{%- for message in messages %}
    {%- if message.role == 'tool' %}{% continue %}{% endif %}
    {%- if message.role == 'user' %}{% set state.users = state.users + 1 %}{% endif %}
    {%- generation %}{{ message.role }}|{{ message.content }}|{{ state.users }}
{%- endgeneration %}
    {%- if state.users > 3 %}{% break %}{% endif %}
{%- endfor %}
{%- if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}
{{- strftime_now('%Y') }}{{ date_string | default('no date') }}
"""

ALL = {"chatml": CHATML, "trimming": TRIMMING, "tools": TOOLS}
